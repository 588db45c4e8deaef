"""The time between the rounds of a run."""

import time
from collections.abc import Callable

from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy


class RoundClock:
    """The clock of the protocol. It stops new rounds at the deadline and waits after lost races."""

    def __init__(
        self,
        policy: RetryPolicy,
        deadline: Deadline,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._policy = policy
        self._deadline = deadline
        self._sleep = sleep
        self.require = deadline.require
        self.monotonic = time.monotonic

    def pause(self, lost_races: int) -> None:
        """Wait before the round that follows a lost race."""
        self._sleep(min(self._policy.delay_s(lost_races), self._deadline.remaining()))
