"""A circuit breaker: the function stops sending requests to a service that does not respond.

closed ── several timeouts in a row ──> open ── some seconds ──> half-open ── a response ──> closed
                                         ^────── a timeout ──────────┘

Only timeouts count: a service that refuses or fails has responded, and costs little. An execution
environment has its own breaker. It runs one invocation at a time, so while a service hangs, each
environment waits for one probe in a while, and all its other invocations fail at once.

The first request of an invocation waits only a few times as long as recent responses took. After
one response, later requests may wait the full time.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a breaker opens and for how long, and how long a request may wait. Times in seconds.

    While GCS hangs, the shortest wait decides how many environments run: as many as events arrive
    meanwhile, until each environment has opened its breaker. With these values 100 uploads a second
    take at most 86 (tests/unit/test_hanging.py); with two waits of 2 seconds they took 416. These
    figures are modelled, and so hold for all values together. Each value was chosen, not measured.
    """

    timeouts: int = 3
    """Timeouts in a row that open the breaker. One alone costs a redelivery of its event."""
    open_s: float = 40.0
    """Longest time until the next probe. It is drawn from a quarter of it on: environments that
    began to wait at the same time must not probe at the same time."""
    probe_s: float = 30.0
    """Time after which a probe that did not end counts as lost: its invocation was stopped."""
    shortest_wait_s: float = 0.8
    """The shorter, the fewer environments run while GCS hangs."""
    longest_wait_s: float = 5.0
    """A probe waits so long, to find out whether the service has become slow. So does a request of
    an invocation that has had a response before."""
    margin: float = 4.0
    """How many times as long as the slowest of the last responses the first request may wait."""


_FADING = 0.95
"""By what each response multiplies the time of a slower one before it: after 14 it is half.

Chosen, not measured: so one slow response lets the next invocations wait longer, but not for hours.
"""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of a breaker. All methods are pure; times are in seconds of any clock."""

    timeouts: int = 0
    """Timeouts in a row."""
    open_until: float | None = None
    """When the next request may be sent; None while the breaker is closed."""
    slowest_s: float = 0.0
    """How long the slowest of the last responses took."""

    def admit(self, now: float, policy: BreakerPolicy) -> "Breaker | None":
        """Return the state while a request runs; None if it must not be sent."""
        if self.open_until is None:
            return self
        if now < self.open_until:
            return None
        return replace(self, open_until=now + policy.probe_s)  # the others wait for the probe

    def wait_s(self, policy: BreakerPolicy) -> float:
        """Return how long a request that was admitted may wait for its response."""
        if self.open_until is not None:
            return policy.longest_wait_s
        wait_s = max(policy.shortest_wait_s, policy.margin * self.slowest_s)
        return min(wait_s, policy.longest_wait_s)

    def responded(self, elapsed_s: float) -> "Breaker":
        """Return the state after a response, whatever it says."""
        return Breaker(slowest_s=max(elapsed_s, _FADING * self.slowest_s))

    def timed_out(self, now: float, policy: BreakerPolicy, draw: float) -> "Breaker":
        """Return the state after a request that got no response in time.

        `draw` is a random number from 0 to 1.
        """
        timeouts = self.timeouts + 1
        if timeouts < policy.timeouts:
            return replace(self, timeouts=timeouts)
        open_until = now + policy.open_s * (1 + 3 * draw) / 4
        return replace(self, timeouts=timeouts, open_until=open_until)


class Circuit:
    """A breaker that several threads use. It lives as long as the execution environment."""

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy or BreakerPolicy()
        self.clock = clock
        self._state = Breaker()
        self._is_alive = False
        self._responded_at = clock()
        self._lock = threading.Lock()

    @property
    def is_alive(self) -> bool:
        """Whether the service has responded in this invocation."""
        return self._is_alive

    @property
    def silent_s(self) -> float:
        """Seconds since the last response."""
        return self.clock() - self._responded_at

    def start_invocation(self) -> None:
        """Forget whether the service has responded. The state of the breaker stays."""
        self._is_alive = False

    def admit(self) -> float | None:
        """Return how long a request may wait; None if it must not be sent. Report how it ends."""
        with self._lock:
            admitted = self._state.admit(self.clock(), self._policy)
            if admitted is None:
                return None
            self._state = admitted
            return self._policy.longest_wait_s if self._is_alive else admitted.wait_s(self._policy)

    def responded(self, elapsed_s: float = 0.0) -> None:
        """Report a response, and how long it took if that says something about the next one."""
        with self._lock:
            self._is_alive = True
            self._responded_at = self.clock()
            self._state = self._state.responded(elapsed_s)

    def timed_out(self) -> None:
        """Report that there was no response in time."""
        with self._lock:
            self._state = self._state.timed_out(self.clock(), self._policy, _RANDOM.random())
