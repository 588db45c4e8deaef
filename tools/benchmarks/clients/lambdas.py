"""Clients that are Python code: each in a worker process of its own."""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.benchmarks.clients.base import PER_EVENT, ClientError, Phase, Start, Usage
from tools.benchmarks.series import Series
from tools.benchmarks.site import Site

_ROOT = Path(__file__).parents[3]
_AGE_S = {Phase.AGAIN: 120.0}
"""An event this old is taken for a redelivery."""


@dataclass(frozen=True, slots=True)
class LambdaFunction:
    """A function, invoked as Lambda invokes it: one event after the other."""

    name: str
    worker: str
    compiled: bool = True
    """`sam build` ships no .pyc files, and /var/task is read-only: then every start compiles."""
    phases: frozenset[Phase] = frozenset(Phase)

    @contextmanager
    def open(self, site: Site) -> Iterator["_Worker"]:
        with subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "tools.benchmarks.worker", self.worker],
            env=self.environment(site),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            worker = _Worker(process)
            yield worker
            worker.close()

    def environment(self, site: Site) -> dict[str, str]:
        """As Lambda's: what the function finds when it starts."""
        path = [_ROOT, site.artifact]
        if not self.compiled:
            path.insert(0, _uncompiled(site.directory / "uncompiled"))
        environment = site.environment | {"PYTHONPATH": ":".join(map(str, path))}
        if not self.compiled:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if self.worker == "tutorial":  # it takes the variable for one that turns credentials off
            environment["GCS_URL"] = environment.pop("STORAGE_EMULATOR_HOST")
        elif (site.artifact / "certificates").is_dir():  # it brings authorities of its own
            del environment["AWS_CA_BUNDLE"], environment["REQUESTS_CA_BUNDLE"]
        return environment


def _uncompiled(folder: Path) -> Path:
    """All libraries, as pip installs them without compiling."""
    if not folder.exists():
        libraries = sysconfig.get_paths()["purelib"]
        shutil.copytree(libraries, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


class _Worker:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        ready = self._report()
        self.start = Start(ready["cpu_s"], ready["wall_s"], ready["rss"])

    def run(self, series: Series, phase: Phase) -> Usage:
        order = {
            "keys": series.keys,
            "size": series.size,
            "age_s": _AGE_S.get(phase, 0.0),
            "per_event": PER_EVENT if phase is Phase.BATCHES else 1,
        }
        if self._process.stdin:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        report = self._report()
        expected = "skipped" if phase in {Phase.AGAIN, Phase.DUPLICATE} else "replicated"
        if report["statuses"] != [expected]:
            raise ClientError(f"{phase}: expected {expected}, not {report['statuses']}")
        return Usage(report["cpu_s"], report["wall_s"], report["rss_peak"])

    def close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()

    def _report(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise ClientError("The worker ended; its error is above.")
        report: dict[str, Any] = json.loads(line)
        return report
