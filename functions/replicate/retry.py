"""Short retries, within the invocation's time. The long ones are the redelivery's."""

import random
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeVar

from replicate.deadline import Deadline
from replicate.errors import ReplicationError, ThrottledError, UnavailableError

T = TypeVar("T")

ATTEMPTS = 5
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0

_RANDOM = random.SystemRandom()
"""Of one snapshot, all environments would draw the same: SnapStart keeps a generator's state."""


class Patience:
    """Waits longer after each failure in a row, and then gives up."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._failures = 0

    def failed(self, error: ReplicationError) -> None:
        """Wait before the next attempt; or raise `error`, when there is to be none."""
        self._failures += 1
        delay = error.retry_after_s
        if delay is None:
            longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**self._failures)
            delay = _RANDOM.uniform(0, longest)
        if self._failures >= ATTEMPTS or delay >= self._deadline.remaining():
            raise error
        time.sleep(delay)

    def progressed(self) -> None:
        self._failures = 0


def retrying(attempt: Callable[[], T], deadline: Deadline) -> T:
    """Call `attempt` until it succeeds, as long as what it raises may pass by itself."""
    patience = Patience(deadline)
    while True:
        try:
            return attempt()
        except (ThrottledError, UnavailableError) as error:
            patience.failed(error)


def may_pass(status: int) -> bool:
    """Whether an answer of this status says that asking again may help."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` header asks for; neither store uses its form as a date."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
