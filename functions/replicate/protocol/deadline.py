"""How much time an invocation has left."""

import time
from collections.abc import Callable

from replicate.errors import OutOfTimeError

MARGIN_S = 1.5
"""Kept back from the invocation's time: to cancel what is open, to log and to answer."""


class Deadline:
    """A moment after which no new work is begun. Safe across threads."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock() + seconds

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._at - self._clock())

    def limit(self, seconds: float) -> float:
        """`seconds`, or what is left where that is less. Raise OutOfTimeError when nothing is."""
        return min(seconds, self.require())

    def require(self) -> float:
        """Seconds left. Raise OutOfTimeError when none are."""
        remaining = self.remaining()
        if remaining <= 0:
            raise OutOfTimeError(
                "The invocation's time ran out. Try again; if it happens again, give the function a"
                " longer timeout or more memory."
            )
        return remaining
