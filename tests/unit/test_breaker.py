"""The breaker: when it lets requests pass, and who may probe."""

import pytest

from replicate.breaker import Breaker, BreakerPolicy, Circuit
from replicate.errors import (
    ComponentGoneError,
    CredentialsError,
    DestinationChangedError,
    DestinationForbiddenError,
    DestinationUnavailableError,
    OutOfTimeError,
    ReplicationError,
    SourceChangedError,
    ThrottledError,
)
from replicate.gcs.errors import admit_request
from replicate.protocol.deadline import Deadline
from replicate.protocol.ports import StoppedError

POLICY = BreakerPolicy(timeouts=2, open_s=20, probe_s=30)
LONGEST, SHORTEST = 1.0, 0.0
"""Draws of the time until the next probe."""
OPEN = Breaker(timeouts=2, open_until=120)


class Time:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def request(
    circuit: Circuit,
    error: Exception | None = None,
    *,
    left_s: float = 60.0,
    at_least_s: float = 0.0,
    took_s: float = 0.1,
) -> float:
    """Send a request that ends with an error, or with a response. Return its timeout."""
    deadline = Deadline(left_s, clock=circuit.clock)
    with admit_request(circuit, deadline, at_least_s=at_least_s) as timeout:
        if error:
            raise error
        assert isinstance(circuit.clock, Time)
        circuit.clock.now += took_s
    return timeout


def silence() -> DestinationUnavailableError:
    return DestinationUnavailableError("silence", timed_out=True)


def hang(circuit: Circuit, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(DestinationUnavailableError, match="silence"):
            request(circuit, silence())


def is_open(circuit: Circuit) -> bool:
    """Return whether a request would fail at once. A closed circuit stays as it is."""
    return circuit.admit() is None


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def circuit(time: Time) -> Circuit:
    return Circuit(POLICY, time)


@pytest.mark.parametrize(
    ("state", "now", "after"),
    [
        (Breaker(), 100, Breaker()),
        (Breaker(timeouts=1), 100, Breaker(timeouts=1)),
        (OPEN, 119.9, None),
        (OPEN, 120, Breaker(timeouts=2, open_until=150)),
    ],
    ids=["closed", "suspected", "open", "half-open"],
)
def test_admit_lets_all_pass_or_none_or_one_probe(
    state: Breaker, now: float, after: Breaker | None
) -> None:
    assert state.admit(now, POLICY) == after


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (Breaker(), Breaker(timeouts=1)),
        (Breaker(timeouts=1), OPEN),
        (OPEN, Breaker(timeouts=3, open_until=120)),
    ],
    ids=["closed", "suspected", "half-open"],
)
def test_timeouts_in_a_row_open_it_and_a_failed_probe_opens_it_again(
    state: Breaker, after: Breaker
) -> None:
    assert state.timed_out(100, POLICY, LONGEST) == after


def test_environments_do_not_probe_at_the_same_time() -> None:
    assert OPEN.timed_out(100, POLICY, SHORTEST).open_until == 105
    assert OPEN.timed_out(100, POLICY, 0.5).open_until == 112.5


@pytest.mark.parametrize("state", [Breaker(), Breaker(timeouts=1), OPEN])
def test_an_answer_closes_it(state: Breaker) -> None:
    assert state.responded(0.1) == Breaker(slowest_s=0.1)


@pytest.mark.parametrize(
    ("state", "wait_s"),
    [
        (Breaker(), 0.8),
        (Breaker(slowest_s=0.1), 0.8),
        (Breaker(slowest_s=0.5), 2.0),
        (Breaker(slowest_s=3.0), 5.0),
        (OPEN, 5.0),
    ],
    ids=["unknown", "fast", "slow", "very slow", "half-open"],
)
def test_request_waits_a_few_times_as_long_as_the_slowest_answer_took(
    state: Breaker, wait_s: float
) -> None:
    assert state.wait_s(POLICY) == wait_s


def test_slow_answer_is_forgotten_after_many_fast_ones() -> None:
    state = Breaker().responded(1.0)
    for _ in range(14):
        state = state.responded(0.1)
    assert 0.45 < state.slowest_s < 0.5
    for _ in range(60):
        state = state.responded(0.1)
    assert state.slowest_s == 0.1


def test_service_that_has_become_slow_is_found_out_by_the_probe(
    circuit: Circuit, time: Time
) -> None:
    assert request(circuit) == 0.8
    hang(circuit, 2)
    time.now += POLICY.open_s
    assert request(circuit, took_s=1.0) == 5.0
    circuit.start_invocation()
    assert request(circuit) == 4.0


def test_request_of_many_bytes_waits_longer_and_says_nothing_about_the_others(
    circuit: Circuit,
) -> None:
    assert request(circuit, at_least_s=20.0, took_s=60.0) == 20.0
    circuit.start_invocation()
    assert request(circuit) == 0.8


def test_first_request_of_an_invocation_ends_the_run_and_a_later_one_is_repeated(
    circuit: Circuit,
) -> None:
    with pytest.raises(DestinationUnavailableError) as first:
        request(circuit, silence())
    assert first.value.ends_run
    assert request(circuit) == 0.8
    with pytest.raises(DestinationUnavailableError) as later:
        request(circuit, silence())
    assert (later.value.timed_out, later.value.ends_run) == (True, False)
    assert request(circuit) == 5.0, "it waits longer"


def test_open_circuit_fails_at_once_and_is_probed_by_one_request(
    circuit: Circuit, time: Time
) -> None:
    hang(circuit, 2)
    with pytest.raises(DestinationUnavailableError, match="not asked") as caught:
        request(circuit)
    assert caught.value.ends_run
    time.now += POLICY.open_s
    assert not is_open(circuit)
    assert is_open(circuit), "the others wait for the probe"
    circuit.responded()
    request(circuit)


def test_probe_that_never_ends_is_followed_by_another(circuit: Circuit, time: Time) -> None:
    hang(circuit, 2)
    time.now += POLICY.open_s
    assert not is_open(circuit)
    time.now += POLICY.probe_s
    assert not is_open(circuit)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        DestinationUnavailableError("503"),
        ThrottledError("429"),
        DestinationForbiddenError("403"),
        CredentialsError("invalid_grant"),
        DestinationChangedError("412"),
        ComponentGoneError(),
    ],
    ids=repr,
)
def test_only_silence_counts(circuit: Circuit, answer: Exception | None) -> None:
    for _ in range(5):
        hang(circuit)
        if answer:
            with pytest.raises(type(answer)):
                request(circuit, answer)
        else:
            request(circuit)
    assert not is_open(circuit)


def test_short_wait_near_the_deadline_proves_nothing(circuit: Circuit) -> None:
    for _ in range(5):
        with pytest.raises(DestinationUnavailableError):
            request(circuit, silence(), left_s=0.5)
    assert not is_open(circuit)


@pytest.mark.parametrize(
    "error",
    [
        OutOfTimeError("no time for a token"),
        CredentialsError("Secrets Manager is down", from_aws=True),
        DestinationUnavailableError("no keys of AWS", timed_out=True, from_aws=True),
    ],
    ids=repr,
)
def test_error_of_aws_or_of_the_clock_is_neither_an_answer_nor_silence(
    circuit: Circuit, time: Time, error: ReplicationError
) -> None:
    hang(circuit, 2)
    time.now += POLICY.open_s
    with pytest.raises(type(error)):
        request(circuit, error)
    assert not error.ends_run
    assert is_open(circuit)
    time.now += POLICY.probe_s
    assert not is_open(circuit), "it was no timeout either"
    assert not circuit.is_alive


@pytest.mark.parametrize("error", [SourceChangedError(), StoppedError(), TypeError("defect")])
def test_what_ends_a_request_while_it_is_sent_is_no_answer(
    circuit: Circuit, error: Exception
) -> None:
    hang(circuit)
    with pytest.raises(type(error)):
        request(circuit, error)
    assert not circuit.is_alive
    hang(circuit)
    assert is_open(circuit)
