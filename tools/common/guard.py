"""Run a command that cannot outlive its starter: `python guard.py COMMAND...`.

The starter holds the other end of our standard input. That end closes when the starter closes it
or dies; then the guard stops the command and every process that the command started. Signals alone
are not enough: no handler runs after SIGKILL, and the Lambda emulator puts its runtime into another
process group.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from types import FrameType

import psutil

GRACE_S = 3.0
"""Time from SIGTERM to SIGKILL. Moto, the slowest of our commands to end, takes less than 1 s."""

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run the command; return its exit code."""
    _adopt_orphans()
    signal.signal(signal.SIGTERM, _exit)
    argv = sys.argv[1:]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as command:  # noqa: S603 - our starter's
        try:
            select.select([sys.stdin.fileno(), os.pidfd_open(command.pid)], [], [])
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _stop(command)
            _kill_orphans()
    return command.returncode


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _adopt_orphans() -> None:
    """Become the parent of each process below us whose own parent ends."""
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
    """Kill our children; their children become ours, so repeat until there are none."""
    this = psutil.Process()
    while orphans := this.children():
        for orphan in orphans:
            orphan.kill()
        psutil.wait_procs(orphans)


if __name__ == "__main__":
    sys.exit(main())
