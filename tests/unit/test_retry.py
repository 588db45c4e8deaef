"""How often a request is repeated, how long each wait takes, and what ends it."""

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
    RoundClock,
    is_transient,
    retry_after,
    retrying,
)

POLICY = RetryPolicy(attempts=5, first_delay_s=0.1, longest_delay_s=1.0, longest_retry_after_s=30.0)
NO_WAIT = RetryPolicy(attempts=5, first_delay_s=0.0)
DRAWS = 300
"""So many random delays come near their limit: 0.9 of it is missed once in 10^13 times."""


@dataclass
class Time:
    """A clock that moves when somebody sleeps."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(seconds, clock=lambda: self.now)


@pytest.fixture
def time() -> Time:
    return Time()


def down(retry_after_s: float | None = None) -> UnavailableError:
    return UnavailableError("down", retry_after_s=retry_after_s)


# RetryPolicy


@pytest.mark.parametrize(
    ("failures", "limit"),
    [(0, 0.1), (1, 0.2), (2, 0.4), (3, 0.8), (4, 1.0), (50, 1.0)],
)
def test_a_delay_is_drawn_from_zero_to_a_limit_that_doubles_up_to_a_cap(
    failures: int, limit: float
) -> None:
    drawn = [POLICY.delay_s(failures) for _ in range(DRAWS)]
    assert min(drawn) >= 0
    assert min(drawn) < limit * 0.1, "full jitter"
    assert limit * 0.9 < max(drawn) <= limit


# Backoff


def failures_until_given_up(backoff: Backoff, retry_after_s: float | None = None) -> int:
    failures = [down(retry_after_s) for _ in range(100)]

    def fail() -> None:
        for error in failures:
            backoff.failed(error)

    with pytest.raises(UnavailableError) as given_up:
        fail()
    return failures.index(given_up.value) + 1


def test_a_request_is_made_as_often_as_the_policy_says(time: Time) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    assert failures_until_given_up(backoff) == 5
    assert len(time.slept) == 4, "nobody waits after the last attempt"


def test_each_wait_may_be_longer_than_the_one_before(time: Time) -> None:
    for _ in range(DRAWS):
        failures_until_given_up(Backoff(POLICY, time.deadline(1000), time.sleep))
    for nth, limit in enumerate((0.2, 0.4, 0.8, 1.0)):
        waits = time.slept[nth::4]
        assert limit * 0.9 < max(waits) <= limit


def test_progress_resets_the_count_and_the_delays(time: Time) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    for _ in range(DRAWS):
        backoff.failed(down())
        backoff.progressed()
    assert max(time.slept) <= 0.2
    assert failures_until_given_up(backoff) == 5


@pytest.mark.parametrize("seconds", [0.0, 3.0, 29.9, 30.0])
def test_a_wait_that_the_store_asks_for_is_kept_to(time: Time, seconds: float) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    backoff.failed(down(retry_after_s=seconds))
    assert time.slept == [seconds]


def test_a_longer_wait_than_that_is_left_to_redelivery(time: Time) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    with pytest.raises(UnavailableError):
        backoff.failed(down(retry_after_s=30.1))
    assert time.slept == []


def test_a_store_that_names_a_wait_each_time_is_not_asked_more_often(time: Time) -> None:
    backoff = Backoff(POLICY, time.deadline(1000), time.sleep)
    assert failures_until_given_up(backoff, retry_after_s=1.0) == 5
    assert time.slept == [1.0] * 4


@pytest.mark.parametrize(("left", "waits"), [(5.1, True), (5.0, False), (1.0, False)])
def test_no_wait_goes_beyond_the_deadline(time: Time, left: float, *, waits: bool) -> None:
    backoff = Backoff(POLICY, time.deadline(left), time.sleep)
    if waits:
        backoff.failed(down(retry_after_s=5.0))
    else:
        with pytest.raises(UnavailableError):
            backoff.failed(down(retry_after_s=5.0))
    assert time.slept == [5.0] * waits


def test_a_deadline_that_is_over_ends_it_with_what_went_wrong(time: Time) -> None:
    with pytest.raises(UnavailableError, match="down"):
        Backoff(NO_WAIT, time.deadline(0), time.sleep).failed(down())


# retrying


def failing_with(*errors: Exception) -> tuple[Callable[[], str], list[Exception]]:
    """Something that fails like this, then succeeds; and what it has yet to fail with."""
    left = [*errors]

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt, left


def test_it_ends_with_the_first_success(time: Time) -> None:
    attempt, left = failing_with(down(), ThrottledError("slow down"))
    assert retrying(attempt, NO_WAIT, time.deadline(10)) == "done"
    assert left == []


@pytest.mark.parametrize(
    "error", [ThrottledError, UnavailableError, SourceUnavailableError, DestinationUnavailableError]
)
def test_what_may_pass_is_repeated_until_it_is_given_up(
    time: Time, error: type[ThrottledError]
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
def test_nothing_else_is_repeated(time: Time, error: type[Exception]) -> None:
    """Some of these a redelivery may heal, but no second request at once."""
    attempt, left = failing_with(error("once"), error("twice"))
    with pytest.raises(error, match="once"):
        retrying(attempt, NO_WAIT, time.deadline(10))
    assert len(left) == 1


@pytest.mark.parametrize(
    ("status", "transient"),
    [(500, True), (502, True), (503, True), (504, True), (599, True), (408, True), (429, True)]
    + [(status, False) for status in (200, 308, 400, 401, 403, 404, 409, 410, 412, 499)],
)
def test_a_status_says_whether_the_same_request_may_succeed(
    status: int, *, transient: bool
) -> None:
    assert is_transient(status) is transient


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("17", 17.0), ("", None), ("-1", None), ("1.5", None), ("Wed, 25 Nov", None)],
)
def test_only_a_number_of_seconds_is_read(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}) == seconds
    assert retry_after({}) is None


# RoundClock


@pytest.mark.parametrize(
    ("lost_races", "limit"), [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.0), (40, 1.0)]
)
def test_the_pause_after_a_lost_race_may_grow_up_to_a_cap(
    time: Time, lost_races: int, limit: float
) -> None:
    clock = RoundClock(POLICY, time.deadline(10_000), time.sleep)
    for _ in range(DRAWS):
        clock.pause(lost_races)
    assert limit * 0.9 < max(time.slept) <= limit


def test_no_pause_goes_beyond_the_deadline_and_no_round_begins_after_it(time: Time) -> None:
    deadline = time.deadline(0.05)
    clock = RoundClock(POLICY, deadline, time.sleep)
    clock.require()
    for _ in range(DRAWS):
        clock.pause(9)
    assert time.now == pytest.approx(0.05)
    with pytest.raises(OutOfTimeError):
        clock.require()
