"""Run a command that cannot outlive whoever started it: `python guard.py COMMAND...`.

The starter holds the other end of our standard input. When that end closes, because the starter is
done or because it was killed, the command and all that came of it is stopped. A signal cannot
promise this: SIGKILL reaches no handler, and the Lambda emulator puts its runtime into a process
group of its own.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

GRACE_S = 3.0
"""What a command gets to end by itself before it is killed."""

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run the command; returns its exit code."""
    _adopt_orphans()
    signal.signal(signal.SIGTERM, _end)
    argv = sys.argv[1:]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as command:  # noqa: S603 - our starter's
        try:
            select.select([sys.stdin.fileno(), os.pidfd_open(command.pid)], [], [])
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _stop(command)
            _kill_orphans()
    return command.returncode


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _adopt_orphans() -> None:
    """Become the parent of grandchildren whose own parent dies: so they can be found."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _stop(command: subprocess.Popen[bytes]) -> None:
    command.terminate()
    try:
        command.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        command.kill()
        command.wait()


def _kill_orphans() -> None:
    """Kill what the command left behind, until killing orphans no more."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := [int(pid) for pid in children.read_text().split()]:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main())
