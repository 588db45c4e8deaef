"""`make demo` and `make up`."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest
from waiting import WITHIN_S, wait_until

from tools.common.processes import command_line, descendants, plain_environment
from tools.local.cloud import local_cloud
from tools.local.runtime import REPOSITORY

LAST_LINE = "# Ctrl-C stops everything."


def test_the_demo_succeeds_and_writes_its_picture(tmp_path: Path) -> None:
    picture, temporary = tmp_path / "demo.svg", tmp_path / "tmp"
    temporary.mkdir()
    demo = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-m", "tools.local.demo", "--picture", picture],
        cwd=REPOSITORY,
        env={**plain_environment(), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout
    assert "36 of 36 objects" in demo.stdout
    assert "All as expected." in demo.stdout
    assert list(temporary.iterdir()) == []
    drawn = ET.parse(picture).getroot()  # noqa: S314 - ours
    assert "36 of 36 objects" in "".join(drawn.itertext()).replace("\xa0", " ")


def test_the_demos_picture_loads_nothing_and_names_no_path() -> None:
    text = (REPOSITORY / "docs/demo.svg").read_text()
    assert "://" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not [word for word in ("@import", "@font-face", "href", "/home") if word in text]


@pytest.mark.skipif(not shutil.which("curl"), reason="the commands need curl")
def test_every_line_that_up_prints_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    """Ctrl-C ends it then, and the function's process too."""
    with _up(tmp_path) as (up, printed):
        pasted = subprocess.run(
            ["/bin/bash", "-euo", "pipefail"],
            input=printed,
            env=plain_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        below = descendants(up.pid)
        assert len(below) == 7  # a guard and its command: moto, GCS, the emulator; the function
        up.send_signal(signal.SIGINT)
        shown, _ = up.communicate(timeout=WITHIN_S)
    assert up.returncode == 0
    assert list(tmp_path.iterdir()) == []
    _assert_gone(below)
    assert "201 CREATED" in pasted.stdout
    for name in ("hello.txt", "requested.txt"):
        assert f'"name": "{name}"' in pasted.stdout
    assert "s3://source/hello.txt → gs://replica/hello.txt" in shown


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_up_leaves_nothing_running_however_it_ends(end: signal.Signals, tmp_path: Path) -> None:
    with _up(tmp_path) as (up, _):
        below = descendants(up.pid)
        assert len(below) >= 6  # the function has not been started
        up.send_signal(end)
        up.communicate(timeout=WITHIN_S)
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
            printed = "".join(iter(lambda: _line(up, until=LAST_LINE), LAST_LINE + "\n"))
            yield up, printed
        finally:
            up.kill()


def _line(up: "subprocess.Popen[str]", until: str) -> str:
    assert up.stdout
    line = up.stdout.readline()
    assert line, f"ended before it printed {until}"
    return line


def _assert_gone(processes: Iterable[psutil.Process]) -> None:
    remaining = list(processes)
    wait_until(lambda: not any(map(command_line, remaining)), f"the end of {remaining}")
