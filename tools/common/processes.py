"""Child processes: start, wait until ready, stop; and the memory and CPU time of any process."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

GUARD = Path(__file__).with_name("guard.py")
READY_WITHIN_S = 30.0
"""A server starts in about 1 s on an idle machine."""

STOPPED_WITHIN_S = 10.0
"""More than the guard's grace."""

POLL_S = 0.01
LOG_TAIL_LINES = 15


class ChildError(Exception):
    """A child process did not start. The text has the end of its log."""


class Child:
    """A running command with its output in `log`. It ends with `stop` or with this process."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        self._name = Path(argv[0]).name
        with log.open("ab") as output:
            # In a session of its own: Ctrl-C reaches only this process, and it ends its children.
            self._guard = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-I", GUARD, *argv],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the guard, the parent of the command."""
        return self._guard.pid

    def wait_for_output(self, pattern: str) -> str:
        """Wait until the log matches `pattern`; return its first group. Raises ChildError."""

        def look() -> str | None:
            found = re.search(pattern, self.log.read_text(errors="replace"))
            return found[1] if found else None

        return self._wait(look)

    def wait_for_port(self, port: int) -> None:
        """Wait until the port accepts connections. Raises ChildError."""
        self._wait(lambda: _accepts(port) or None)

    def stop(self) -> None:
        """End the command and every process that it started. May be called again."""
        if self._guard.stdin:
            self._guard.stdin.close()  # the guard waits for this
        self._guard.wait(STOPPED_WITHIN_S)

    def _wait(self, probe: Callable[[], T | None]) -> T:
        give_up = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < give_up:
            if self._guard.poll() is not None:
                raise ChildError(f"{self._name} ended while starting.\n{self._log_tail()}")
            if (found := probe()) is not None:
                return found
            time.sleep(POLL_S)
        self.stop()
        raise ChildError(f"{self._name} not ready in {READY_WITHIN_S:.0f} s.\n{self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"The end of {self.log}:", *(f"  {line}" for line in lines)])


def free_port() -> int:
    """Return a port that is free now, for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def plain_environment() -> dict[str, str]:
    """Return the least that a child needs, without the developer's proxies, profiles and keys."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


def descendants(pid: int) -> list[psutil.Process]:
    """Return the living processes below `pid`; none when it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def command_line(process: psutil.Process) -> list[str]:
    """Return the words a process was started with; none when it has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def rss_bytes(pid: int) -> int:
    """Return the memory that a process holds now. Raises psutil.NoSuchProcess."""
    return int(psutil.Process(pid).memory_info().rss)


def peak_rss_bytes(pid: int) -> int:
    """Return the most memory that a process has held; 0 when it has ended.

    Reads Linux's VmHWM: psutil has no peak, and getrusage counts memory from before exec.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return int(found[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """Return user and system time of all threads, in steps of 10 ms. Raises NoSuchProcess."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
