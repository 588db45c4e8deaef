"""Kills a function's process now and then, and records how much memory they hold."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from random import Random

import psutil

from tools.common import processes
from tools.local.runtime import LambdaRuntime
from tools.soak.stats import RunStats

MEMORY_EVERY_S = 0.5


class ProcessKiller:
    """Sends SIGKILL at random moments to the process of a random runtime."""

    def __init__(
        self,
        runtimes: Sequence[LambdaRuntime],
        stats: RunStats,
        *,
        mean_s: float,
        seed: int,
        stopping: threading.Event,
    ) -> None:
        """`mean_s` is the mean time between two kills; 0 for none."""
        self._runtimes = runtimes
        self._stats = stats
        self._mean_s = mean_s
        self._rng = Random(seed)  # noqa: S311 - must be repeatable
        self._stopping = stopping

    def stop(self) -> None:
        """Kill no more. Memory is still recorded."""
        self._mean_s = 0.0

    def run(self) -> None:
        kill_at = time.monotonic() + self._interval_s()
        while not self._stopping.wait(MEMORY_EVERY_S):
            functions = [found for each in self._runtimes if (found := each.process())]
            for each in functions:
                peak = processes.peak_rss_bytes(each.pid)
                self._stats.peak_rss_bytes = max(peak, self._stats.peak_rss_bytes)
            if functions and self._mean_s and time.monotonic() >= kill_at:
                kill_at = time.monotonic() + self._interval_s()
                self._kill(self._rng.choice(functions))

    def _kill(self, function: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            function.kill()
            self._stats.kills.append(self._stats.now())

    def _interval_s(self) -> float:
        return self._rng.expovariate(1 / self._mean_s) if self._mean_s else 0.0
