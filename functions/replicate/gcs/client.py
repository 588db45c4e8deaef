"""google-cloud-storage's client, for the life of the execution environment."""

import threading

import requests
from google.cloud import storage

from replicate.errors import SettingsError
from replicate.gcs.credentials import SecretCredentials


class GcsClient:
    """Builds the client with the first request: only the secret knows the universe domain."""

    def __init__(self, credentials: SecretCredentials) -> None:
        self.credentials = credentials
        self.uploads = requests.Session()
        """For the bytes of resumable uploads. The address of a session authorizes by itself, and an
        authorized session would send a stream that is used up again after a 401."""
        self._client: storage.Client | None = None
        self._lock = threading.Lock()

    def bucket(self, name: str) -> storage.Bucket:
        """Return the bucket, without a request to it. Raises CredentialsError, SettingsError."""
        domain = self.credentials.universe_domain
        with self._lock:
            if self._client is None or self._client.universe_domain != domain:
                self._client = storage.Client(
                    project=None,  # no project is needed, and none is looked for
                    credentials=self.credentials,
                    client_options={"universe_domain": domain},
                )
            client = self._client
        try:
            bucket: storage.Bucket = client.bucket(name)
        except ValueError as error:
            raise SettingsError(f"GCS_BUCKET_NAME is not a bucket's name: {error}") from None
        return bucket

    def close(self) -> None:
        """Close the connections."""
        self.uploads.close()
        self.credentials.close()
        if self._client is not None:
            self._client.close()
