"""`make demo` and `make up`, as a person runs them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tools.common.processes import command_line, descendants, plain_environment
from tools.local.cloud import local_cloud
from tools.local.runtime import REPOSITORY

UP = "# Ctrl-C ends everything."


def test_the_demo_goes_as_promised(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "tools.local.demo"],
        cwd=REPOSITORY,
        env={**plain_environment(), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (demo.returncode, demo.stderr) == (0, "")
    assert "All as promised." in demo.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_line_that_up_prints_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    with _up(tmp_path) as (up, printed):
        pasted = subprocess.run(
            ["/bin/bash", "-euo", "pipefail"],
            input=printed,
            env={**plain_environment(), "PATH": _path_with_curl(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        up.send_signal(signal.SIGINT)
        shown, _ = up.communicate(timeout=20)
    assert "201 Created" in pasted.stdout
    for name in ("hello.txt", "asked.txt"):
        assert f'"name": "{name}"' in pasted.stdout
    assert "s3://source/hello.txt → gs://replica/hello.txt" in shown


def _path_with_curl(folder: Path) -> str:
    """The machine's commands; and a curl, should there be none: nothing but Python is promised."""
    found = plain_environment()["PATH"]
    if shutil.which("curl", path=found):
        return found
    curl = folder / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parent}/curl.py "$@"\n')
    curl.chmod(0o700)
    return f"{found}:{curl.parent}"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_up_leaves_nothing_running_however_it_ends(end: signal.Signals, tmp_path: Path) -> None:
    with _up(tmp_path) as (up, _):
        below = descendants(up.pid)
        assert len(below) >= 6  # a guard and its command: moto, GCS, the emulator
        up.send_signal(end)
        up.communicate(timeout=20)
    if end is not signal.SIGKILL:
        assert up.returncode == 0
        assert list(tmp_path.iterdir()) == []
    _assert_gone(below)


def test_a_closed_cloud_leaves_nothing_running() -> None:
    before = set(descendants(os.getpid()))
    with local_cloud() as cloud:
        cloud.function.invoke({"Event": "s3:TestEvent"})
        running = set(descendants(os.getpid())) - before
    assert len(running) == 7  # as above, and the function's own process
    _assert_gone(running)


@contextmanager
def _up(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run `make up`'s command until it is up; with what it printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "tools.local.up"],
        cwd=REPOSITORY,
        env={**plain_environment(), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    ) as up:
        assert up.stdout
        try:
            printed = "".join(iter(lambda: _line(up, until=UP), UP + "\n"))
            yield up, printed
        finally:
            up.kill()


def _line(up: "subprocess.Popen[str]", until: str) -> str:
    assert up.stdout
    line = up.stdout.readline()
    assert line, f"ended before it printed {until}"
    return line


def _assert_gone(processes: Iterable[psutil.Process]) -> None:
    give_up = time.monotonic() + 10
    while alive := [line for process in processes if (line := command_line(process))]:
        assert time.monotonic() < give_up, f"still running: {alive}"
        time.sleep(0.02)
