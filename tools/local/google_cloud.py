"""Google Cloud on this machine: `python -m tools.local.gcs` as a process, and its client."""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import http.client
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from google.cloud import storage
from google.oauth2 import service_account

from tools.common import processes
from tools.common.processes import Child
from tools.local.notifications import Json
from tools.local.runtime import REPOSITORY

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
ADMIN_TIMEOUT_S = 10


class GoogleCloud:
    """A project with one bucket and one service account. `close` it."""

    def __init__(self, folder: Path, bucket: str) -> None:
        self._server = Child(
            [sys.executable, "-m", "tools.local.gcs", "--bucket", bucket, "--data-dir", folder],
            env={**processes.plain_environment(), "PYTHONPATH": str(REPOSITORY)},
            log=folder / "gcs.log",
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
        """Spoil requests to come; `tools.local.gcs.Fault` says how."""
        self._admin("POST", "faults", fault)

    def clear_faults(self) -> None:
        self._admin("DELETE", "faults")

    def requests(self) -> list[Json]:
        """Every request so far, in the order of the answers."""
        requests: list[Json] = self._admin("GET", "requests")["requests"]
        return requests

    def close(self) -> None:
        self._client.close()
        self._server.stop()

    def _admin(self, method: str, what: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        address = urlsplit(self.url).netloc
        with closing(http.client.HTTPConnection(address, timeout=ADMIN_TIMEOUT_S)) as connection:
            payload = None if body is None else json.dumps(body)
            headers = {"content-type": "application/json"} if payload else {}
            connection.request(method, f"/_local/{what}", payload, headers)
            response = connection.getresponse()
            answer = response.read()
        if response.status not in {200, 201, 204}:
            raise RuntimeError(f"{method} /_local/{what}: {response.status} {answer.decode()}")
        return json.loads(answer) if answer else None
