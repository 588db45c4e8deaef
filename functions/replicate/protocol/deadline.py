"""The time that an invocation has left."""

import time
from collections.abc import Callable

from replicate.errors import OutOfTimeError

MARGIN_S = 2.5
"""Seconds at the end of an invocation that stay free.

In them the last request of AWS may end (1 s), uploads are cancelled (0.5 s), failures are stored in
the queues (0.5 s) and the function responds (0.5 s). Chosen, not measured: the first two are
timeouts, the last two are estimates.
"""


class Deadline:
    """A moment after which no new work begins. Safe across threads.

    An execution environment has one. Each invocation restarts it, so that the adapters that hold it
    are built once. Settlement has one of its own, for the last seconds.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        """Set the deadline `seconds` from now."""
        self._at = self._clock() + seconds

    def remaining(self) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self._at - self._clock())

    def limit(self, seconds: float) -> float:
        """Return `seconds` or the seconds left if these are fewer. Raise OutOfTimeError at 0."""
        return min(seconds, self.require())

    def require(self) -> float:
        """Return the seconds left. Raise OutOfTimeError at 0."""
        remaining = self.remaining()
        if remaining <= 0:
            raise OutOfTimeError(
                "The invocation's time ran out. Try again. If it happens again, lower"
                " LargeObjectThreshold (LARGE_FROM) below the object's size, or raise MemorySize."
            )
        return remaining
