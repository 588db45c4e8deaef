"""The bandwidth of one connection."""

import time
from collections.abc import Callable

CATCH_UP_S = 0.05
"""A process that slept too long may catch up this much: a timer's delay is no slower network."""


class Pace:
    """Lets bytes of one connection pass at `rate` bytes a second, or at once if that is 0."""

    def __init__(
        self,
        rate: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    def wait(self, count: int) -> None:
        """Wait as long as the network takes for `count` bytes."""
        if rate := self._rate():
            now = self._clock()
            self._free_at = max(self._free_at, now - CATCH_UP_S) + count / rate
            self._sleep(max(0.0, self._free_at - now))
