"""Child processes: started, waited for until they are ready, and never left behind."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

GUARD = Path(__file__).with_name("guard.py")
READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 10.0
POLL_S = 0.01
LOG_TAIL_LINES = 15


class ChildError(Exception):
    """A child process did not start, or ended on its own. The text has the end of its log."""


class Child:
    """A running command. Its output goes to `log`; it ends with `stop`, or with this process."""

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
            # A session of its own: Ctrl-C at a terminal reaches us alone, and we end our children.
            self._guard = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-I", "-S", GUARD, *argv],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process at the root of all that the command started."""
        return self._guard.pid

    def announced(self, pattern: str) -> str:
        """Wait until the log holds `pattern`; returns its first group. Raises ChildError."""

        def look() -> str | None:
            found = re.search(pattern, self.log.read_text(errors="replace"))
            return found.group(1) if found else None

        return self._wait(look)

    def listening(self, port: int) -> None:
        """Wait until the port answers. Raises ChildError."""
        self._wait(lambda: _connects(port) or None)

    def stop(self) -> None:
        """End the command and everything it started. May be called again."""
        if self._guard.stdin:
            self._guard.stdin.close()  # what the guard waits for
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
    """A port nobody listens on right now, for programs that cannot pick one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def descendants(pid: int) -> Iterator[int]:
    """Every living process below `pid`. Linux only, as is the Lambda emulator."""
    for task in _tasks(pid):
        for child in _read(task / "children").split():
            yield int(child)
            yield from descendants(int(child))


def command_line(pid: int) -> list[str]:
    """The words a process was started with; empty ones when it is gone."""
    return _read(Path(f"/proc/{pid}/cmdline")).rstrip("\0").split("\0")


def peak_rss_bytes(pid: int) -> int | None:
    """The most memory that the process ever held; None when it is gone."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", _read(Path(f"/proc/{pid}/status")), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def plain_environment() -> dict[str, str]:
    """What a child needs to run at all: nothing of the developer's proxies, profiles and keys."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return []


def _read(path: Path) -> str:
    """A file of /proc; empty when its process ended meanwhile."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
