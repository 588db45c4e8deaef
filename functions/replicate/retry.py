"""Short retries within the invocation's time. Longer outages are left to event redelivery.

The SDKs' own retries are off. botocore and google-api-core ignore `Retry-After` and have no
deadline, and google-cloud-storage retries writes that have no precondition. One policy for both
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
"""It has no seed and no state, so no two environments wait alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a request is retried, and how long each wait may take. Times are in seconds.

    The defaults were chosen and not measured. The four waits between five attempts take at most 3
    seconds in all.
    """

    attempts: int = 5
    first_delay_s: float = 0.2
    """Longest wait after the first failure. It doubles with each further one."""
    longest_delay_s: float = 5.0
    longest_retry_after_s: float = 30.0
    """Longest `Retry-After` that the function waits for. A longer one is left to redelivery,
    because Lambda bills the time of a waiting function."""
    io_timeout_s: float = 20.0
    """Longest wait for a connection, or for the next bytes of a request or a response."""
    attempts_after_timeout: int = 2
    """Attempts that may time out. A second one has a new connection; more only wait longer."""

    def delay_s(self, failures: int) -> float:
        """Return a random delay in seconds: exponential backoff with full jitter.

        `failures` is at least 1.
        """
        longest = min(self.longest_delay_s, self.first_delay_s * 2.0 ** (failures - 1))
        return _RANDOM.uniform(0, longest)


DEFAULT_POLICY = RetryPolicy()


class Backoff:
    """Waits after each failure. It gives up after too many failures in a row."""

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
        self._timeouts = 0

    def failed(self, error: ReplicationError) -> None:
        """Wait before the next attempt. Raise `error` if no attempt or no time is left."""
        self._failures += 1
        self._timeouts += error.timed_out
        delay = error.retry_after_s
        if delay is None:
            delay = self._policy.delay_s(self._failures)
        elif delay > self._policy.longest_retry_after_s:
            raise error
        if error.ends_run or self._timeouts >= self._policy.attempts_after_timeout:
            raise error
        if self._failures >= self._policy.attempts or delay >= self._deadline.remaining():
            raise error
        self._sleep(delay)

    def progressed(self) -> None:
        """Reset the count of failures, because the last attempt transferred bytes."""
        self._failures = 0
        self._timeouts = 0


def retrying(attempt: Callable[[], T], policy: RetryPolicy, deadline: Deadline) -> T:
    """Call `attempt` until it succeeds. Raise its error if that is final or no retry is left."""
    backoff = Backoff(policy, deadline)
    while True:
        try:
            return attempt()
        except TRANSIENT as error:
            backoff.failed(error)


def is_transient(status: int) -> bool:
    """Return whether the same request may succeed later, by the HTTP status of its response."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }


_THROTTLING = ("Throttl", "LimitExceeded", "SlowDown", "TooManyRequests")
"""In the error codes by which AWS throttles. Source: botocore/retries/standard.py."""


def is_throttling(code: str) -> bool:
    """Return whether an error code of AWS says to try again later. Its HTTP status may be 400."""
    return any(part in code for part in _THROTTLING)


_EXPIRED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
"""Error codes by which AWS refuses old credentials, or a request of another time than its own.

Source: "Common errors" of each service. Some services have one code for these and for a wrong
signature, which the SDK does not make.
"""


def is_expired(code: str) -> bool:
    """Return whether AWS accepts the same request with newer credentials or a better clock."""
    return code in _EXPIRED


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in a `Retry-After` header. Neither store sends a date in it."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
