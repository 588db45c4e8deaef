"""The server as an object: for a test in the same process, and for the command line."""

import json
import signal
import tempfile
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Self

from tools.local.gcs import api, oauth, scopes
from tools.local.gcs.faults import Fault, FaultQueue
from tools.local.gcs.http_server import HttpServer
from tools.local.gcs.keyring import DEFAULT_EMAIL, Keyring
from tools.local.gcs.service import Service
from tools.local.gcs.store import Store


class GcsServer:
    """A server in its own thread, listening as soon as it is built.

    Its data are in a new directory below `data_dir`, which `close` removes.
    """

    def __init__(
        self,
        buckets: Iterable[str] = (),
        *,
        host: str = "127.0.0.1",
        token_seconds: float = 3600,
        public_url: str | None = None,
        data_dir: Path | None = None,
        seconds_between_writes: float = 0.0,
        faults: FaultQueue | None = None,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="gcs-", dir=data_dir)
        self._service = Service(
            store=Store(Path(self._directory.name), seconds_between_writes=seconds_between_writes),
            keyring=Keyring(token_seconds),
            faults=faults or FaultQueue(),
        )
        for bucket in buckets:
            self.create_bucket(bucket)
        self._http = HttpServer(
            (host, 0),
            partial(api.handle, self._service),
            public_url=public_url,
            stopping=self._service.stopping,
        )
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="gcs", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL."""
        return self._http.url_for(None)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._http.server_address[1])

    def run(self) -> None:
        """Print the URL as JSON, and wait for SIGTERM or Ctrl-C."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        print(json.dumps({"url": self.url}), flush=True)
        stop.wait()

    def close(self) -> None:
        """Stop, end every connection and remove all data."""
        self._http.close()
        self._thread.join()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create_bucket(self, name: str) -> None:
        """Create a bucket."""
        self._service.store.create_bucket(name)

    def set_bucket_settings(self, name: str, **settings: object) -> None:
        """Add exactly these fields to the bucket's resource. They have no other effect."""
        stored = self._service.store.bucket(name).settings
        stored.clear()
        stored.update(settings)

    def create_key(self) -> dict[str, str]:
        """Return a new service account key, in the format of Google's key files."""
        return self._service.keyring.create_key(self.url)

    def revoke_key(self, private_key_id: str) -> bool:
        """Revoke a key and its tokens; return whether there was such a key."""
        return self._service.keyring.revoke_key(private_key_id)

    def issue_token(self, scope: str = scopes.FULL_CONTROL) -> str:
        """Return an access token without a key; several scopes are separated by spaces."""
        return self._service.keyring.issue(DEFAULT_EMAIL, scopes.split(scope)).value

    def external_account(self, *, impersonate: bool = False) -> dict[str, Any]:
        """Return a workload identity configuration for AWS that points to this server."""
        return oauth.external_account(self.url, DEFAULT_EMAIL if impersonate else None)

    def add_fault(self, fault: Fault) -> None:
        """Queue a fault."""
        self._service.faults.add(fault)

    def clear_faults(self) -> None:
        """Remove all faults that have not fired."""
        self._service.faults.clear()

    def withhold(self, *permissions: str) -> None:
        """Deny exactly these permissions to a client that asks which permissions are granted."""
        self._service.denied_permissions.clear()
        self._service.denied_permissions.update(permissions)

    def requests(self) -> list[dict[str, Any]]:
        """Return the request log: every request but those to /_local."""
        return list(self._service.log)

    def clear_requests(self) -> None:
        """Clear the request log."""
        self._service.log.clear()

    def sessions(self) -> list[dict[str, str | int]]:
        """Return the resumable uploads that are still open."""
        return self._service.open_sessions()

    def soft_deleted(self) -> list[str]:
        """Return the names of the generations that a bucket with soft delete would hold."""
        return [stored.name for stored in list(self._service.store.soft_deleted)]
