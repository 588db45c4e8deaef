"""Short retries within the invocation's time. Longer outages are left to event redelivery.

The SDKs' own retries are switched off: botocore and google-api-core ignore `Retry-After` and know
no deadline, and google-cloud-storage repeats writes without a precondition. One policy for both
stores replaces them.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from replicate.errors import ReplicationError, ThrottledError, UnavailableError
from replicate.protocol.deadline import Deadline

T = TypeVar("T")

TRANSIENT = (ThrottledError, UnavailableError)
"""Errors after which the same request may succeed."""

_RANDOM = random.SystemRandom()
"""SnapStart restores the state of an ordinary generator: all environments would draw the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a request is repeated, and how long each wait may take. Times in seconds."""

    attempts: int = 5
    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0
    longest_retry_after_s: float = 30.0
    """A store that asks for a longer pause gets it by redelivery, not by a function that sleeps."""
    io_timeout_s: float = 20.0
    """Longest wait for a connection, or for the next bytes of a request or response."""

    def delay_s(self, failures: int) -> float:
        """Exponential backoff with full jitter."""
        longest = min(self.longest_delay_s, self.first_delay_s * 2.0**failures)
        return _RANDOM.uniform(0, longest)


DEFAULT_POLICY = RetryPolicy()


class Backoff:
    """Waits longer after each failure in a row, and then gives up."""

    def __init__(
        self,
        policy: RetryPolicy,
        deadline: Deadline,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._policy = policy
        self._deadline = deadline
        self._sleep = sleep
        self._failures = 0

    def failed(self, error: ReplicationError) -> None:
        """Wait before the next attempt; raise `error` when there must be none."""
        self._failures += 1
        delay = error.retry_after_s
        if delay is None:
            delay = self._policy.delay_s(self._failures)
        elif delay > self._policy.longest_retry_after_s:
            raise error
        if self._failures >= self._policy.attempts or delay >= self._deadline.remaining():
            raise error
        self._sleep(delay)

    def progressed(self) -> None:
        """Count failures from zero again: the last attempt moved bytes."""
        self._failures = 0


def retrying(attempt: Callable[[], T], policy: RetryPolicy, deadline: Deadline) -> T:
    """Call `attempt` until it succeeds or raises an error that is not transient."""
    backoff = Backoff(policy, deadline)
    while True:
        try:
            return attempt()
        except TRANSIENT as error:
            backoff.failed(error)


class RoundClock:
    """The protocol's clock: it ends the rounds at the deadline and waits after lost races."""

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


def is_transient(status: int) -> bool:
    """Whether an HTTP status says that the same request may succeed later."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` header asks for; neither store uses its form as a date."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
