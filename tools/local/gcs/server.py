"""The server as an object: for a test in the same process, and for the command line."""

import ssl
import tempfile
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.local.gcs import admin, api, oauth, scopes
from tools.local.gcs.faults import Fault, FaultQueue
from tools.local.gcs.keyring import DEFAULT_EMAIL, Keyring
from tools.local.gcs.listener import Listener
from tools.local.gcs.service import Service
from tools.local.gcs.store import Bucket, Store


class GcsServer:
    """A server in a thread of its own, listening as soon as it is built.

    What it stores lies in a directory of its own below `data_dir`, gone after `close`.
    """

    def __init__(
        self,
        buckets: Iterable[str] = (),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        auth: bool = True,
        token_seconds: float = 3600,
        public_url: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        data_dir: Path | None = None,
        seconds_between_writes: float = 0.0,
        faults: FaultQueue | None = None,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="gcs-", dir=data_dir)
        self._service = Service(
            store=Store(Path(self._directory.name), seconds_between_writes=seconds_between_writes),
            keyring=Keyring(token_seconds),
            auth=auth,
            faults=faults or FaultQueue(),
        )
        for bucket in buckets:
            self.create_bucket(bucket)
        try:
            self._listener = Listener(
                (host, port),
                partial(api.answer, self._service),
                public_url=public_url and public_url.rstrip("/"),
                ssl_context=ssl_context,
                stopping=self._service.stopping,
            )
        except OSError:
            self._directory.cleanup()
            raise
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.05,), name="gcs", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL."""
        return self._listener.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.server_address[1])

    def close(self) -> None:
        """Stop, end every connection and remove all data."""
        self._listener.close()
        self._thread.join()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def create_bucket(self, name: str) -> None:
        """Create a bucket."""
        self._service.store.create_bucket(Bucket(name=name))

    def create_key(self, email: str = DEFAULT_EMAIL) -> dict[str, str]:
        """Return a new service account key, as in the file Google hands out."""
        return self._service.keyring.create_key(self.url, email)

    def revoke_key(self, private_key_id: str) -> bool:
        """Revoke a key and its tokens; False where there is no such key."""
        return self._service.keyring.revoke_key(private_key_id)

    def issue_token(self, scope: str = scopes.FULL_CONTROL) -> str:
        """Return an access token without any ceremony; several scopes are separated by spaces."""
        return self._service.keyring.issue(DEFAULT_EMAIL, scopes.split(scope)).value

    def external_account(self, *, impersonate: bool = False) -> dict[str, Any]:
        """Return a workload identity configuration for AWS that points here."""
        return oauth.external_account(self.url, DEFAULT_EMAIL if impersonate else None)

    def add_fault(self, fault: Fault) -> None:
        """Queue a fault."""
        self._service.faults.add(fault)

    def clear_faults(self) -> None:
        """Forget all faults that have not fired."""
        self._service.faults.clear()

    def withhold(self, *permissions: str) -> None:
        """Let the credentials lack exactly these permissions, when they ask which they have."""
        self._service.lacking.clear()
        self._service.lacking.update(permissions)

    def requests(self) -> list[dict[str, Any]]:
        """Return the journal: every request but those to /_local."""
        return self._service.journal.entries()

    def clear_requests(self) -> None:
        """Clear the journal."""
        self._service.journal.clear()

    def sessions(self) -> list[dict[str, str | int]]:
        """Return the resumable uploads that nobody ended."""
        return admin.open_sessions(self._service.sessions)
