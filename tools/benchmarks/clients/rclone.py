"""rclone, the best general tool there is: as a command for a whole prefix, and as a daemon."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.benchmarks import process
from tools.benchmarks.clients.base import ClientError, Phase, Start, Usage
from tools.benchmarks.series import Series
from tools.benchmarks.servers.aws import BUCKET as SOURCE
from tools.benchmarks.servers.gcs import BUCKET as DESTINATION
from tools.benchmarks.site import Site

RCLONE = Path(sys.executable).parent / "rclone"


def environment(site: Site) -> dict[str, str]:
    """Its configuration. Nothing but the two remotes: every flag is at its default."""
    return site.environment | {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "Minio",  # as AWS, but for the bucket in the path
        "RCLONE_CONFIG_S3_ENV_AUTH": "true",
        "RCLONE_CONFIG_S3_REGION": "us-east-1",
        "RCLONE_CONFIG_S3_ENDPOINT": site.aws.url,
        "RCLONE_CONFIG_S3_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG_GCS_TYPE": "google cloud storage",
        "RCLONE_CONFIG_GCS_SERVICE_ACCOUNT_CREDENTIALS": site.key,
        "RCLONE_CONFIG_GCS_ENDPOINT": f"{site.gcs.url}/storage/v1/",
        "RCLONE_CONFIG_GCS_BUCKET_POLICY_ONLY": "true",
    }


def version() -> str:
    """Its own account of itself."""
    said = subprocess.run([RCLONE, "version"], check=True, capture_output=True, text=True)  # noqa: S603
    return said.stdout.partition("\n")[0]


@dataclass(frozen=True, slots=True)
class RcloneCopy:
    """`rclone copy` of a whole prefix: a process each time, which lists and runs in parallel."""

    name: str
    phases: frozenset[Phase] = frozenset({Phase.NEW, Phase.AGAIN})

    @contextmanager
    def open(self, site: Site) -> Iterator["_Copy"]:
        yield _Copy(environment(site))


class _Copy:
    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self.start = Start(0, 0, 0)

    def run(self, series: Series, _phase: Phase) -> Usage:
        began = time.monotonic()
        child = subprocess.Popen(  # noqa: S603 - the command that is measured
            [
                RCLONE,
                "copy",
                f"s3:{SOURCE}/{series.prefix}",
                f"gcs:{DESTINATION}/{series.prefix}",
            ],
            env=self._env,
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise ClientError(f"rclone copy failed: {child.returncode}")
        wall_s = time.monotonic() - began
        return Usage(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss * 1024)


@dataclass(frozen=True, slots=True)
class RcloneDaemon:
    """`rclone rcd`, told of one object after the other: what a warm process of its costs."""

    name: str
    phases: frozenset[Phase] = frozenset({Phase.WARM_UP, Phase.NEW, Phase.AGAIN})

    @contextmanager
    def open(self, site: Site) -> Iterator["_Daemon"]:
        path = site.directory / "rclone.sock"
        path.unlink(missing_ok=True)
        with subprocess.Popen(  # noqa: S603 - the command that is measured
            [RCLONE, "rcd", "--rc-no-auth", f"--rc-addr=unix://{path}", "--log-level=ERROR"],
            env=environment(site),
        ) as child:
            try:
                yield _Daemon(child.pid, path)
            finally:
                child.terminate()


class _Daemon:
    def __init__(self, pid: int, path: Path) -> None:
        self._pid = pid
        began = time.monotonic()
        while not path.exists():
            time.sleep(0.01)
        self._connection = _UnixConnection(path)
        self._call("rc/noop", {})
        self.start = Start(process.cpu_s(pid), time.monotonic() - began, process.rss(pid))

    def run(self, series: Series, _phase: Phase) -> Usage:
        cpu_s, began = process.cpu_s(self._pid), time.monotonic()
        for key in series.keys:
            self._call(
                "operations/copyfile",
                {
                    "srcFs": f"s3:{SOURCE}",
                    "srcRemote": key,
                    "dstFs": f"gcs:{DESTINATION}",
                    "dstRemote": key,
                },
            )
        return Usage(
            process.cpu_s(self._pid) - cpu_s,
            time.monotonic() - began,
            process.rss_peak(self._pid),
        )

    def _call(self, command: str, arguments: dict[str, str]) -> None:
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", f"/{command}", json.dumps(arguments), headers)
        response = self._connection.getresponse()
        said = response.read()
        if response.status != http.client.OK:
            raise ClientError(f"rclone rcd: {said.decode()}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))
