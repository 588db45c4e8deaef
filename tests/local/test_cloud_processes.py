"""Child processes end with their starter, however it ends."""

import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from tools.common.processes import Child, ChildError, descendants, plain_environment
from tools.local.runtime import REPOSITORY

FAMILY = """
import os, subprocess, sys, time
if len(sys.argv) > 1:
    os.setpgid(0, 0)  # as the Lambda emulator does with its runtime
else:
    subprocess.Popen([sys.executable, __file__, "child"])
    print("ready on 7", flush=True)
time.sleep(600)
"""

STARTER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from pathlib import Path
from tools.common.processes import Child, plain_environment
folder = Path(sys.argv[1])
child = Child([sys.executable, folder / "family.py"], env=plain_environment(), log=folder / "log")
child.wait_for_output("ready on (.)")
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def family(tmp_path: Path) -> Path:
    path = tmp_path / "family.py"
    path.write_text(FAMILY)
    return path


def test_stop_ends_grandchildren_in_other_process_groups_too(family: Path, tmp_path: Path) -> None:
    child = _start(family, tmp_path)
    pids = [child.pid, *_grown(child.pid)]
    child.stop()
    child.stop()  # a second time is no error
    assert not _alive(pids)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_children_end_when_a_signal_ends_their_starter(end: signal.Signals, family: Path) -> None:
    with subprocess.Popen(  # noqa: S603 - the starter above
        [sys.executable, "-c", STARTER, str(family.parent)],
        cwd=REPOSITORY,
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout
        guard = int(starter.stdout.readline())
        pids = [guard, *_grown(guard)]
        starter.send_signal(end)
    _until_gone(pids)


def test_a_child_that_does_not_start_raises_the_end_of_its_log(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no disk left')"]
    child = Child(argv, env=plain_environment(), log=tmp_path / "log")
    with pytest.raises(ChildError, match="no disk left"):
        child.wait_for_output("ready on (.)")
    child.stop()


def _start(family: Path, folder: Path) -> Child:
    child = Child([sys.executable, family], env=plain_environment(), log=folder / "log")
    child.wait_for_output("ready on (.)")
    return child


def _grown(pid: int) -> list[int]:
    """Wait for the two processes below the guard."""
    wait_until(lambda: len(descendants(pid)) == 2, "two processes")
    return [process.pid for process in descendants(pid)]


def _until_gone(pids: Iterable[int]) -> None:
    waited = list(pids)
    wait_until(lambda: not _alive(waited), f"the end of {waited}")


def _alive(pids: Iterable[int]) -> list[int]:
    return [pid for pid in pids if _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
