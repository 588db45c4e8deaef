"""The client of google-cloud-storage, which lives as long as the execution environment."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import requests
from google.cloud import storage
from requests.adapters import HTTPAdapter

from replicate.breaker import Circuit
from replicate.errors import SettingsError
from replicate.gcs.credentials import SecretCredentials

MAX_IDLE_S = 60.0
"""Seconds after which an idle connection is not used again.

While an environment is frozen, a NAT or a firewall may drop an idle connection without a word. The
first request on it would get no response. A new one costs a handshake a minute.
"""

UPLOADS = 40
"""Uploads at the same time: ten changes of one event, in four parts each. With `requests`' own pool
of ten connections, the others would need a TLS handshake for each chunk."""


class GcsClient:
    """Builds the client at the first request, because the secret has the universe domain.

    Safe across threads.
    """

    def __init__(self, credentials: SecretCredentials, circuit: Circuit) -> None:
        self.credentials = credentials
        self.circuit = circuit
        """Opens while GCS, or Google's token service, does not respond."""
        self.uploads = requests.Session()
        """Sends the bytes of resumable uploads, without a token: the session URI is authorization
        enough. An AuthorizedSession would resend a stream that is already consumed after a 401."""
        for scheme in ("https://", "http://"):
            self.uploads.mount(scheme, HTTPAdapter(pool_maxsize=UPLOADS))
        self._client: storage.Client | None = None
        self._lock = threading.Lock()

    def start_invocation(self) -> None:
        """Begin an invocation, without connections that were idle for long."""
        if self.circuit.silent_s > MAX_IDLE_S:
            self.close()
        self.circuit.start_invocation()

    def bucket(self, name: str) -> storage.Bucket:
        """Return the bucket. It sends no request to GCS.

        Raise CredentialsError when the secret is unusable, SettingsError for an invalid name.
        """
        domain = self.credentials.universe_domain
        with self._lock:
            if self._client is None or self._client.universe_domain != domain:
                self._client = self._new_client(domain)
            client = self._client
        try:
            bucket: storage.Bucket = client.bucket(name)
        except ValueError as error:
            raise SettingsError(f"GcsBucketName (GCS_BUCKET_NAME) is not valid: {error}") from None
        return bucket

    @contextmanager
    def bucket_to_read(self, name: str) -> Iterator[storage.Bucket]:
        """Return the bucket with a client of its own, to read the bucket's settings.

        A client remembers a bucket that was read. After a 404, for example of a deletion, it would
        then ask in a background thread whether the bucket exists.
        """
        self.bucket(name)  # for its errors
        with closing(self._new_client(self.credentials.universe_domain)) as client:
            yield client.bucket(name)

    def _new_client(self, domain: str) -> storage.Client:
        return storage.Client(
            project=None,  # otherwise the client searches for a project
            credentials=self.credentials,
            client_options={"universe_domain": domain},
        )

    def close(self) -> None:
        """Close the connections. Later requests open new ones."""
        self.uploads.close()
        self.credentials.close()
        if self._client is not None:
            self._client.close()
