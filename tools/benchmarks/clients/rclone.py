"""rclone as a peer: as a command that copies a whole prefix, and as a daemon."""

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from tools.benchmarks.clients.base import ClientError, Phase, Usage
from tools.benchmarks.series import Series
from tools.benchmarks.servers.aws import BUCKET as SOURCE
from tools.benchmarks.servers.gcs import BUCKET as DESTINATION
from tools.benchmarks.site import REGION, Site
from tools.common import processes, rclone
from tools.common.processes import Child, free_port


def environment(site: Site) -> dict[str, str]:
    """Return rclone's configuration: the two remotes, and the default of every flag."""
    return site.environment | rclone.remotes(
        s3_url=site.aws.url,
        region=REGION,
        gcs_url=site.gcs.url,
        key=site.key,
        provider="Minio",  # as AWS, but with the bucket in the path
    )


@dataclass(frozen=True, slots=True)
class RcloneCopy:
    """`rclone copy` of a whole prefix: a new process, which lists and copies in parallel."""

    name: str
    phases: frozenset[Phase] = frozenset({Phase.NEW, Phase.AGAIN})

    @contextmanager
    def open(self, site: Site) -> Iterator["_Copy"]:
        yield _Copy(environment(site))


class _Copy:
    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self.start = Usage(0, 0, 0)

    def run(self, series: Series, _phase: Phase) -> Usage:
        source, destination = f"s3:{SOURCE}/{series.prefix}", f"gcs:{DESTINATION}/{series.prefix}"
        started = time.monotonic()
        child = subprocess.Popen([rclone.COMMAND, "copy", source, destination], env=self._env)  # noqa: S603 - it is measured
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise ClientError(f"rclone copy failed: {child.returncode}")
        wall_s = time.monotonic() - started
        return Usage(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss * 1024)


@dataclass(frozen=True, slots=True)
class RcloneDaemon:
    """`rclone rcd`, a warm process that gets one object after the other."""

    name: str
    phases: frozenset[Phase] = frozenset({Phase.WARM_UP, Phase.NEW, Phase.AGAIN})

    @contextmanager
    def open(self, site: Site) -> Iterator["_Daemon"]:
        port = free_port()
        daemon = Child(
            [
                *(rclone.COMMAND, "rcd", "--rc-no-auth", "--log-level=ERROR"),
                f"--rc-addr=127.0.0.1:{port}",
            ],
            env=environment(site),
            log=site.directory / "rclone.log",
        )
        try:
            daemon.wait_for_port(port)
            (process,) = processes.descendants(daemon.pid)
            with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                yield _Daemon(process.pid, connection)
        finally:
            daemon.stop()


class _Daemon:
    """Keeps its connection: a new one for each object would count as rclone's time."""

    def __init__(self, pid: int, connection: http.client.HTTPConnection) -> None:
        self._pid = pid
        self._connection = connection
        self.start = Usage(processes.cpu_seconds(pid), 0, processes.rss_bytes(pid))

    def run(self, series: Series, _phase: Phase) -> Usage:
        cpu_s, started = processes.cpu_seconds(self._pid), time.monotonic()
        for key in series.keys:
            self._copy(key)
        return Usage(
            processes.cpu_seconds(self._pid) - cpu_s,
            time.monotonic() - started,
            processes.peak_rss_bytes(self._pid),
        )

    def _copy(self, key: str) -> None:
        source, destination = f"s3:{SOURCE}", f"gcs:{DESTINATION}"
        order = {"srcFs": source, "srcRemote": key, "dstFs": destination, "dstRemote": key}
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/operations/copyfile", json.dumps(order), headers)
        response = self._connection.getresponse()
        message = response.read()
        if response.status != http.client.OK:
            raise ClientError(f"rclone rcd: {message.decode()}")
