"""The local cloud of a soak: a GCS server with faults, and several Lambda runtimes."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.local.aws import Aws
from tools.local.cloud import local_cloud
from tools.local.google_cloud import GoogleCloud
from tools.local.notifications import Json
from tools.local.runtime import LambdaRuntime
from tools.soak.options import Options

SOURCE = "soak"
FAULTS_LOG = "faults.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakCloud:
    """The running parts."""

    folder: Path
    aws: Aws
    google: GoogleCloud
    runtimes: list[LambdaRuntime]
    queue_url: str

    def faults(self) -> list[Json]:
        """Return every fault that happened, as `FaultInjector` logs it."""
        log = (self.folder / FAULTS_LOG).read_text()
        return [json.loads(line) for line in log.splitlines()]

    def requests(self) -> Counter[str]:
        """Count the requests to GCS by operation."""
        return Counter(request["operation"] for request in self.google.requests())


@contextmanager
def soak_cloud(options: Options) -> Iterator[SoakCloud]:
    """Run everything. All processes end with the `with` block."""
    gcs = [
        *("-m", "tools.soak.gcs", "--log", FAULTS_LOG),
        *("--faults", str(options.faults), "--seed", str(options.seed)),
        *("--outage-every-s", str(options.outage_every_s if options.faults else 0)),
    ]
    with local_cloud(gcs_command=gcs) as cloud, ExitStack() as stack:
        runtimes = []
        for number in range(options.workers):
            runtime = cloud.another_function(f"soak-{number}")
            stack.callback(runtime.close)
            runtimes.append(runtime)
        cloud.aws.create_bucket(SOURCE)
        yield SoakCloud(
            folder=cloud.folder,
            aws=cloud.aws,
            google=cloud.google,
            runtimes=runtimes,
            queue_url=cloud.aws.notify_queue(SOURCE),
        )
