"""Retries: the number of attempts, the length of the waits, and when they end."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from replicate.errors import (
    CredentialsError,
    DestinationChangedError,
    DestinationForbiddenError,
    DestinationRejectedError,
    DestinationUnavailableError,
    IntegrityError,
    OutOfTimeError,
    SourceChangedError,
    SourceForbiddenError,
    SourceUnavailableError,
    ThrottledError,
    UnavailableError,
)
from replicate.protocol.deadline import Deadline
from replicate.retry import (
    Backoff,
    RetryPolicy,
    is_transient,
    retry_after,
    retrying,
)
from replicate.round_clock import RoundClock

POLICY = RetryPolicy(attempts=5, first_delay_s=0.2, longest_delay_s=1.0, longest_retry_after_s=30.0)
NO_WAIT = RetryPolicy(attempts=5, first_delay_s=0.0)
DRAWS = 300
"""Random delays per check. All of them stay below 0.9 of their limit once in 10^13 checks."""


@dataclass
class FakeTime:
    """A clock that advances when `sleep` is called."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(seconds, clock=lambda: self.now)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def unavailable(retry_after_s: float | None = None) -> UnavailableError:
    return UnavailableError("down", retry_after_s=retry_after_s)


# RetryPolicy


@pytest.mark.parametrize(
    ("failures", "limit"),
    [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.0), (50, 1.0)],
)
def test_delay_is_random_up_to_a_limit_that_doubles_until_the_cap(
    failures: int, limit: float
) -> None:
    drawn = [POLICY.delay_s(failures) for _ in range(DRAWS)]
    assert min(drawn) >= 0
    assert min(drawn) < limit * 0.1, "full jitter"
    assert limit * 0.9 < max(drawn) <= limit


# Backoff


def failures_until_given_up(backoff: Backoff, retry_after_s: float | None = None) -> int:
    failures = [unavailable(retry_after_s) for _ in range(100)]

    def fail() -> None:
        for error in failures:
            backoff.failed(error)

    with pytest.raises(UnavailableError) as caught:
        fail()
    return failures.index(caught.value) + 1


def test_request_is_made_as_often_as_the_policy_says(time: FakeTime) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    assert failures_until_given_up(backoff) == 5
    assert len(time.slept) == 4, "nobody waits after the last attempt"


def test_request_that_times_out_is_sent_twice_at_most(time: FakeTime) -> None:
    backoff = Backoff(POLICY, time.deadline(100), time.sleep)
    silence = UnavailableError("silence", timed_out=True)
    backoff.failed(unavailable())
    backoff.failed(silence)
    with pytest.raises(UnavailableError):
        backoff.failed(silence)
    backoff.progressed()
    backoff.failed(silence)


def test_request_is_not_repeated_when_that_would_only_wait_again(time: FakeTime) -> None:
    backoff = Backoff(POLICY, time.deadline(100), time.sleep)
    with pytest.raises(UnavailableError):
        backoff.failed(UnavailableError("silence", ends_run=True))
    assert time.slept == []


def test_limit_of_each_wait_is_longer_than_the_one_before(time: FakeTime) -> None:
    for _ in range(DRAWS):
        failures_until_given_up(Backoff(POLICY, time.deadline(1000), time.sleep))
    for nth, limit in enumerate((0.2, 0.4, 0.8, 1.0)):
        waits = time.slept[nth::4]
        assert limit * 0.9 < max(waits) <= limit


def test_progress_resets_the_count_and_the_delays(time: FakeTime) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    for _ in range(DRAWS):
        backoff.failed(unavailable())
        backoff.progressed()
    assert max(time.slept) <= 0.2
    assert failures_until_given_up(backoff) == 5


@pytest.mark.parametrize("seconds", [0.0, 3.0, 29.9, 30.0])
def test_retry_after_of_the_store_is_respected(time: FakeTime, seconds: float) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    backoff.failed(unavailable(retry_after_s=seconds))
    assert time.slept == [seconds]


def test_request_fails_when_retry_after_is_too_long(time: FakeTime) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    with pytest.raises(UnavailableError):
        backoff.failed(unavailable(retry_after_s=30.1))
    assert time.slept == []


def test_retry_after_does_not_add_attempts(time: FakeTime) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    assert failures_until_given_up(backoff, retry_after_s=1.0) == 5
    assert time.slept == [1.0] * 4


@pytest.mark.parametrize(("left", "waits"), [(5.1, True), (5.0, False), (1.0, False)])
def test_wait_does_not_exceed_the_deadline(time: FakeTime, left: float, *, waits: bool) -> None:
    backoff = Backoff(POLICY, time.deadline(left), time.sleep)
    if waits:
        backoff.failed(unavailable(retry_after_s=5.0))
    else:
        with pytest.raises(UnavailableError):
            backoff.failed(unavailable(retry_after_s=5.0))
    assert time.slept == [5.0] * waits


def test_last_error_is_raised_when_the_deadline_has_passed(time: FakeTime) -> None:
    with pytest.raises(UnavailableError, match="down"):
        Backoff(NO_WAIT, time.deadline(0), time.sleep).failed(unavailable())


# retrying


def failing_with(*errors: Exception) -> tuple[Callable[[], str], list[Exception]]:
    """Return a function that raises these errors and then succeeds, and the errors left."""
    left = [*errors]

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt, left


def test_retrying_ends_with_the_first_success(time: FakeTime) -> None:
    attempt, left = failing_with(unavailable(), ThrottledError("slow down"))
    assert retrying(attempt, NO_WAIT, time.deadline(10)) == "done"
    assert left == []


@pytest.mark.parametrize(
    "error", [ThrottledError, UnavailableError, SourceUnavailableError, DestinationUnavailableError]
)
def test_transient_error_is_retried_until_the_attempts_run_out(
    time: FakeTime, error: type[ThrottledError]
) -> None:
    attempt, left = failing_with(*(error(f"number {number}") for number in range(1, 10)))
    with pytest.raises(error, match="number 5"):
        retrying(attempt, NO_WAIT, time.deadline(10))
    assert len(left) == 4


@pytest.mark.parametrize(
    "error",
    [
        CredentialsError,
        DestinationForbiddenError,
        DestinationRejectedError,
        IntegrityError,
        OutOfTimeError,
        SourceForbiddenError,
        DestinationChangedError,
        SourceChangedError,
        ValueError,
    ],
)
def test_other_error_is_not_retried(time: FakeTime, error: type[Exception]) -> None:
    """Some of these may succeed at a redelivery, but not at an immediate second request."""
    attempt, left = failing_with(error("once"), error("twice"))
    with pytest.raises(error, match="once"):
        retrying(attempt, NO_WAIT, time.deadline(10))
    assert len(left) == 1


@pytest.mark.parametrize(
    ("status", "transient"),
    [(500, True), (502, True), (503, True), (504, True), (599, True), (408, True), (429, True)]
    + [(status, False) for status in (200, 308, 400, 401, 403, 404, 409, 410, 412, 499)],
)
def test_status_is_transient_or_permanent(status: int, *, transient: bool) -> None:
    assert is_transient(status) is transient


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("17", 17.0), ("", None), ("-1", None), ("1.5", None), ("Wed, 25 Nov", None)],
)
def test_retry_after_is_read_only_as_a_number_of_seconds(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}) == seconds
    assert retry_after({}) is None


# RoundClock


@pytest.mark.parametrize(
    ("lost_races", "limit"), [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.0), (40, 1.0)]
)
def test_pause_after_a_lost_race_grows_up_to_the_cap(
    time: FakeTime, lost_races: int, limit: float
) -> None:
    clock = RoundClock(POLICY, time.deadline(10_000), time.sleep)
    for _ in range(DRAWS):
        clock.pause(lost_races)
    assert limit * 0.9 < max(time.slept) <= limit


def test_pause_ends_at_the_deadline_and_no_round_begins_after_it(time: FakeTime) -> None:
    deadline = time.deadline(0.05)
    clock = RoundClock(POLICY, deadline, time.sleep)
    clock.require()
    for _ in range(DRAWS):
        clock.pause(9)
    assert time.now == pytest.approx(0.05)
    with pytest.raises(OutOfTimeError):
        clock.require()
