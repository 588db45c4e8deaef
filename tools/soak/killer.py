"""Kills a function's process now and then; and looks at how much memory they hold."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from random import Random

from tools.common import processes
from tools.soak.ledger import Ledger

LOOK_S = 0.5


class Killer:
    """SIGKILL, at random moments, to a random one of the functions' processes."""

    def __init__(
        self, ledger: Ledger, *, mean_s: float, seed: int, stopping: threading.Event
    ) -> None:
        self._ledger = ledger
        self._mean_s = mean_s
        self._rng = Random(seed)  # noqa: S311 - to be repeatable
        self._stopping = stopping
        self._spare = threading.Event()

    def spare(self) -> None:
        """No more kills; memory is watched on."""
        self._spare.set()

    def run(self) -> None:
        next_at = time.monotonic() + self._wait_s()
        while not self._stopping.wait(max(0.0, min(LOOK_S, next_at - time.monotonic()))):
            pids = list(functions())
            for pid in pids:
                self._ledger.held(processes.peak_rss_bytes(pid))
            if time.monotonic() < next_at:
                continue
            next_at = time.monotonic() + self._wait_s()
            if pids and self._mean_s and not self._spare.is_set():
                self._kill(self._rng.choice(pids))

    def _kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._ledger.killed()

    def _wait_s(self) -> float:
        return self._rng.expovariate(1 / self._mean_s) if self._mean_s else LOOK_S


def functions() -> Iterator[int]:
    """The functions' processes: below us, and only these; not the emulators that start them."""
    for process in processes.descendants(os.getpid()):
        if processes.command_line(process)[1:3] == ["-m", "awslambdaric"]:
            yield process.pid
