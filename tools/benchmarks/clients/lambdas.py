"""Clients that are Lambda functions in Python: each runs in a worker process of its own."""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tools.benchmarks.clients.base import PER_EVENT, ClientError, Phase, Usage
from tools.benchmarks.series import Series
from tools.benchmarks.servers.aws import BUCKET
from tools.benchmarks.site import Site
from tools.common import processes
from tools.local.notifications import Json, notification, record

_ROOT = Path(__file__).parents[3]
_REDELIVERY_AGE = timedelta(minutes=2)
"""An event of this age counts as a redelivery."""


@dataclass(frozen=True, slots=True)
class LambdaFunction:
    """A function that gets one event after the other."""

    name: str
    worker: str
    compiled: bool = True
    """`sam build` ships no .pyc files and /var/task is read-only, so every start compiles."""
    phases: frozenset[Phase] = frozenset(Phase)
    one_stream: bool = False
    """The replicator copies an object of any size in one stream, and not in parts."""
    compresses: bool = False
    """The replicator sends compressed what gets smaller."""

    @contextmanager
    def open(self, site: Site, **settings: str) -> Iterator["Worker"]:
        """Start the function, with further variables."""
        with subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "tools.benchmarks.worker", self.worker],
            env=self.environment(site) | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            yield Worker(process)
            process.communicate()

    def environment(self, site: Site) -> dict[str, str]:
        """Return the variables that the function starts with."""
        path = [_ROOT, site.artifact]
        environment = site.environment
        if not self.compiled:
            path.insert(0, _uncompiled(site.directory / "uncompiled"))
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if self.one_stream:
            environment["PARALLEL_FROM"] = environment["LARGE_FROM"] = "6 TiB"
        environment["COMPRESS_EGRESS"] = str(self.compresses).lower()
        environment["PYTHONPATH"] = ":".join(map(str, path))
        if self.worker != "replicator":  # for its client the variable turns credentials off
            environment["GCS_URL"] = environment.pop("STORAGE_EMULATOR_HOST")
        elif (site.artifact / "certificates").is_dir():  # it has authorities of its own
            del environment["AWS_CA_BUNDLE"], environment["REQUESTS_CA_BUNDLE"]
        return environment


def _uncompiled(folder: Path) -> Path:
    """Copy all libraries without their compiled files, once."""
    if not folder.exists():
        libraries = sysconfig.get_paths()["purelib"]
        shutil.copytree(libraries, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


class Worker:
    """A process that runs one list of events after the other."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid
        started = self._report()
        self.start = Usage(started["cpu_s"], started["wall_s"], processes.rss_bytes(process.pid))

    def run(self, series: Series, phase: Phase) -> Usage:
        report = self.send(_events(series, phase))
        expected = "skipped" if phase in {Phase.AGAIN, Phase.DUPLICATE} else "replicated"
        statuses = {each["status"] for result in report["results"] for each in result["results"]}
        if statuses != {expected}:
            raise ClientError(f"{phase}: expected {expected}, not {sorted(statuses)}")
        peak = processes.peak_rss_bytes(self._process.pid)
        return Usage(report["cpu_s"], report["wall_s"], peak)

    def send(self, events: list[Json]) -> Json:
        """Run events one after the other; return the report. Raise ClientError."""
        if self._process.stdin:
            self._process.stdin.write(json.dumps(events) + "\n")
            self._process.stdin.flush()
        return self._report()

    def _report(self) -> Json:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise ClientError("The worker ended; its error is above.")
        report: dict[str, Any] = json.loads(line)
        return report


def _events(series: Series, phase: Phase) -> list[Json]:
    """Return S3's notifications: one object in each, or `PER_EVENT`."""
    happened = datetime.now(UTC) - (_REDELIVERY_AGE if phase is Phase.AGAIN else timedelta())
    event_time = happened.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    etag = "0123456789abcdef0123456789abcdef"
    records = [
        record(BUCKET, key, size=series.size, etag=etag) | {"eventTime": event_time}
        for key in series.keys
    ]
    per_event = PER_EVENT if phase is Phase.BATCHES else 1
    starts = range(0, len(records), per_event)
    return [notification(*records[start : start + per_event]) for start in starts]
