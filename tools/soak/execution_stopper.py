"""Stops executions of large objects now and then. Their workers go on."""

import threading
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from tools.soak.stats import RunStats

if TYPE_CHECKING:
    from types_boto3_stepfunctions import SFNClient


class ExecutionStopper:
    """Stops a random execution at random moments, of each version of an object at most one.

    After three executions that failed, a version waits for an hour.
    """

    def __init__(
        self,
        sfn: "SFNClient",
        state_machine: str,
        stats: RunStats,
        *,
        mean_s: float,
        seed: int,
        stopping: threading.Event,
    ) -> None:
        """`mean_s` is the mean time between two stops; 0 for none."""
        self._sfn = sfn
        self._state_machine = state_machine
        self._stats = stats
        self._mean_s = mean_s
        self._rng = Random(seed)  # noqa: S311 - must be repeatable
        self._stopping = stopping
        self._versions: set[str] = set()

    def stop(self) -> None:
        """Stop no more executions."""
        self._mean_s = 0.0

    def run(self) -> None:
        while mean_s := self._mean_s:
            if self._stopping.wait(self._rng.expovariate(1 / mean_s)) or not self._mean_s:
                return
            self._stop_one()

    def _stop_one(self) -> None:
        found = self._sfn.list_executions(
            stateMachineArn=self._state_machine, statusFilter="RUNNING"
        )["executions"]
        running = {each["name"].rpartition("-")[0]: each["executionArn"] for each in found}
        if fresh := sorted(running.keys() - self._versions):
            version = self._rng.choice(fresh)
            self._versions.add(version)
            with suppress(ClientError):  # it has ended meanwhile: moto fails then
                self._sfn.stop_execution(executionArn=running[version])
                self._stats.count("executions stopped")
