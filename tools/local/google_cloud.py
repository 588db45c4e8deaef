"""Google Cloud on this machine: `python -m tools.local.gcs` as a process, and its client."""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.cloud import storage
from google.oauth2 import service_account

from tools.common import http, processes
from tools.common.processes import Child
from tools.local.notifications import Json
from tools.local.runtime import REPOSITORY

COMMAND = ("-m", "tools.local.gcs")
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


class GoogleCloud:
    """A project with one bucket and one service account. `close` it."""

    def __init__(
        self,
        folder: Path,
        bucket: str,
        *,
        command: Sequence[str] = COMMAND,
        host: str = "127.0.0.1",
    ) -> None:
        """`command` are Python's arguments, for another server than the local one."""
        self._server = Child(
            [
                *(sys.executable, *command, "--bucket", bucket),
                *("--host", host, "--data-dir", folder),
            ],
            env={**processes.plain_environment(), "PYTHONPATH": str(REPOSITORY)},
            log=folder / "gcs.log",
            cwd=folder,
        )
        self.url = self._server.wait_for_output(r'"url": "([^"]+)"')
        self.key: Json = self._admin("POST", "keys", {})
        """The service account's key file."""
        self._client = storage.Client(
            project=self.key["project_id"],
            credentials=service_account.Credentials.from_service_account_info(
                self.key, scopes=SCOPES
            ),
            client_options={"api_endpoint": self.url},
        )
        self.bucket: storage.Bucket = self._client.bucket(bucket)

    def add_fault(self, **fault: object) -> None:
        """Let requests fail; the fields are those of `tools.local.gcs.Fault`."""
        self._admin("POST", "faults", fault)

    def clear_faults(self) -> None:
        self._admin("DELETE", "faults")

    def requests(self) -> list[Json]:
        """Return every request so far, in the order of the responses."""
        requests: list[Json] = self._admin("GET", "requests")["requests"]
        return requests

    def open_sessions(self) -> list[str]:
        """Return the object name of every resumable upload that was not ended."""
        return [session["name"] for session in self._admin("GET", "sessions")["sessions"]]

    def close(self) -> None:
        self._client.close()
        self._server.stop()

    def _admin(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        return http.call(method, f"{self.url}/_local/{path}", body)
