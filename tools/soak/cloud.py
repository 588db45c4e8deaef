"""The local cloud of a soak: its own GCS server with faults, and several Lambda runtimes."""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import http.client
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from google.cloud import storage
from google.oauth2 import service_account

from tools.common import processes
from tools.common.processes import Child
from tools.local.aws import Aws
from tools.local.cloud import REPLICA, local_cloud
from tools.local.google_cloud import SCOPES
from tools.local.notifications import Json
from tools.local.runtime import REPOSITORY, LambdaRuntime
from tools.soak.options import Options

SOURCE = "soak"
ADMIN_TIMEOUT_S = 60


class StormyGoogle:
    """A project with one bucket, and faults until `calm`. `close` it."""

    def __init__(self, folder: Path, options: Options) -> None:
        self._faults = folder / "faults.jsonl"
        self._server = Child(
            [
                *(sys.executable, "-m", "tools.soak.gcs", "--bucket", REPLICA),
                *("--data-dir", str(folder), "--log", str(self._faults)),
                *("--faults", str(options.faults), "--seed", str(options.seed)),
                *("--storm-every-s", str(options.storm_every_s if options.faults else 0)),
            ],
            env={**processes.plain_environment(), "PYTHONPATH": str(REPOSITORY)},
            log=folder / "soak-gcs.log",
        )
        self.url = self._server.wait_for_output(r'"url": "([^"]+)"')
        self.key: Json = self._admin("POST", "keys", {})
        self._client = storage.Client(
            project=self.key["project_id"],
            credentials=service_account.Credentials.from_service_account_info(
                self.key, scopes=SCOPES
            ),
            client_options={"api_endpoint": self.url},
        )
        self.bucket: storage.Bucket = self._client.bucket(REPLICA)

    def calm(self) -> None:
        """No more faults."""
        self._admin("DELETE", "faults")

    def faults(self) -> list[Json]:
        """Every fault that struck: `at` (epoch), `kind`, `operation`, `name`."""
        return [json.loads(line) for line in self._faults.read_text().splitlines()]

    def requests(self) -> Counter[str]:
        """How many requests there were of each operation."""
        entries = self._admin("GET", "requests")["requests"]
        return Counter(entry["operation"] for entry in entries)

    def open_sessions(self) -> list[str]:
        """Names of the objects of the resumable uploads that nobody ended."""
        return [session["name"] for session in self._admin("GET", "sessions")["sessions"]]

    def close(self) -> None:
        self._client.close()
        self._server.stop()

    def _admin(self, method: str, what: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        address = urlsplit(self.url).netloc
        with closing(http.client.HTTPConnection(address, timeout=ADMIN_TIMEOUT_S)) as connection:
            payload = None if body is None else json.dumps(body)
            connection.request(method, f"/_local/{what}", payload)
            answer = connection.getresponse().read()
        return json.loads(answer) if answer else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakCloud:
    """The running parts."""

    folder: Path
    aws: Aws
    google: StormyGoogle
    runtimes: list[LambdaRuntime]
    queue_url: str


@contextmanager
def soak_cloud(options: Options) -> Iterator[SoakCloud]:
    """Run everything; nothing of it outlives the `with` block."""
    with local_cloud() as cloud, ExitStack() as stack:
        google = StormyGoogle(cloud.folder, options)
        stack.callback(google.close)
        environment = {
            **cloud.function_environment,
            "STORAGE_EMULATOR_HOST": google.url,
            "GCP_CREDENTIALS_SECRET": cloud.aws.create_secret("soak", json.dumps(google.key)),
        }
        runtimes = []
        for number in range(options.workers):
            runtime = LambdaRuntime(environment, folder=cloud.folder, name=f"soak-{number}")
            stack.callback(runtime.close)
            runtimes.append(runtime)
        cloud.aws.create_bucket(SOURCE)
        yield SoakCloud(
            folder=cloud.folder,
            aws=cloud.aws,
            google=google,
            runtimes=runtimes,
            queue_url=cloud.aws.notify_queue(SOURCE),
        )
