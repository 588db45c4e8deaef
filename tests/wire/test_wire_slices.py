"""Large objects: the steps of an execution, with faults and changes at each of their requests."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from contract.gcs_http import noise
from wire.cases import (
    ALWAYS,
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    CUTS,
    MID_RESPONSE,
    Case,
    Scenario,
    Step,
    fault_of,
    fin,
    nothing,
    once,
    refuse,
    stall,
)
from wire.concurrent_changes import (
    destination_deleted,
    destination_described,
    destination_overwritten,
    source_becomes_small,
    source_deleted,
    source_described,
    staged_objects_deleted,
)
from wire.harness import KIB, SHORT_TIMEOUT, SOURCE, Clouds, Context, Harness
from wire.proxy import CutError, Exchange, Fault, Place

from replicate.handler import Function
from replicate.protocol.parts import Sizes
from replicate.step_errors import PermanentError, TransientError, WrongBytesError
from replicate.wiring import Environment

SLICE = 64 * KIB
LARGE = noise(2 * SLICE)
SIZES = {"PARALLEL_FROM": "64 KiB", "LARGE_FROM": "128 KiB", "SLICE_SIZE": "64 KiB"}
"""A large object has two slices of `PARTS` parts of 32 KiB."""

PARTS = 2
"""Of a slice, not four as in a deployment: test_wire_parts.py has four at once."""

ATTEMPTS = 3
"""Of one step. The state machine makes more of them, and waits in between."""


@pytest.fixture(scope="module")
def environments(clouds: Clouds) -> tuple[Environment, Environment]:
    """Return two warm execution environments. The second one has a short timeout."""
    with pytest.MonkeyPatch.context() as fewer:
        defaults = {**(Sizes.__init__.__kwdefaults__ or {}), "parts_per_slice": PARTS}
        fewer.setattr(Sizes.__init__, "__kwdefaults__", defaults)
        return (
            clouds.warm_environment(**SIZES),
            clouds.warm_environment(SHORT_TIMEOUT, **SIZES),
        )


@pytest.fixture
def harness(harness: Harness, environments: tuple[Environment, Environment]) -> Iterator[Harness]:
    """Return a harness whose function copies large objects."""
    harness.function = Function(environments[0])
    harness.clear_requests()
    yield harness
    harness.stop_faults()
    harness.clear_staged()


def invoke(harness: Harness, step: str, state: dict[str, Any]) -> dict[str, Any]:
    """Run one step, as the state machine does: JSON in, JSON out."""
    event = {"bucket": SOURCE, "key": harness.key, **state, "large": step}
    context = harness.context = Context(60, harness.clock)
    answer = harness.function.steps.copy_large(json.loads(json.dumps(event)), context)
    assert context.get_remaining_time_in_millis() > 0, "Lambda would have ended it"
    new: dict[str, Any] = json.loads(json.dumps(answer))
    return new


def try_step(harness: Harness, step: str, state: dict[str, Any]) -> dict[str, Any]:
    """Run one step, and retry it after transient errors."""
    for _ in range(ATTEMPTS - 1):
        with suppress(TransientError):
            return invoke(harness, step, state)
    return invoke(harness, step, state)


def execute(
    harness: Harness, between: Callable[[str], None] = lambda _: None
) -> dict[str, Any] | None:
    """Run an execution. Return its result, or None after it has failed.

    The message that watches an execution starts the next one when it ends superseded.
    """
    state: dict[str, Any] = {"version": None, "round": 0}
    try:
        while True:
            between("plan")
            state |= try_step(harness, "plan", state)
            if state["done"] and state["result"]["reason"] == "superseded":
                return execute(harness, between)
            if state["done"]:
                return state
            for number in state["slices"]:
                between(f"slice {number}")
                try_step(harness, "slice", {**state, "number": number})
            between("commit")
            state |= try_step(harness, "commit", state)
            if state["done"]:
                return state
    except TransientError:
        return None
    except (WrongBytesError, PermanentError):
        harness.stop_faults()
        between("sweep")
        try_step(harness, "sweep", state)
        return None


def _overwrite(harness: Harness) -> dict[str, Any]:
    harness.put_replicated(b"small", colour="red")
    harness.put(LARGE, checksum="CRC64NVME", colour="green")
    return harness.event(fresh=False)


_PART = ("gcs.staged-get", "s3.resume", "gcs.insert", "gcs.staged-patch")
_COMMIT = ("s3.head", "gcs.get", "gcs.staged-get", "gcs.staged-get", "gcs.compose", "s3.head")
PLAN = (Step("gcs.get"), Step("s3.head"))
LOOK = Step("gcs.get", 1)
"""Before a slice is staged."""

JOIN = Step("gcs.join")
COMMIT = (
    Step("s3.head", 3),
    Step("gcs.get", 3),
    Step("gcs.staged-get", 2 + 2 * PARTS),
    Step("gcs.compose"),
    Step("s3.head", 4),
    Step("gcs.list"),
)
OVERWRITE = Scenario("overwrite", _overwrite, (*PLAN, LOOK, JOIN, *COMMIT))


def execute_case(harness: Harness, case: Case) -> bool:
    """Execute with a fault, then execute again. Return whether the first execution succeeded.

    Without `codes` it must succeed.
    """
    case.scenario.prepare(harness)
    fault = harness.inject(fault_of(harness, case))
    ended = execute(harness)
    harness.stop_faults()
    assert fault.triggered, "the execution did not reach the fault"
    harness.observe()
    assert harness.open_sessions() == []
    assert ended or case.codes
    if not ended:  # what is staged is kept for the next one
        assert execute(harness)
    assert harness.staged() == []
    again = harness.invoke(harness.event(fresh=False)).result["reason"]
    assert again in {"current", "source_gone", "deleted"}  # only an event may delete
    harness.assert_equal()
    return bool(ended)


def test_execution_sends_these_requests_when_nothing_disturbs_it(harness: Harness) -> None:
    _overwrite(harness)
    ended = execute(harness)
    assert ended
    assert ended["result"]["verified_by"] == {"source": "crc64nvme", "destination": "crc32c"}
    one_slice = ("s3.head", "gcs.get", "gcs.staged-get", *_PART * PARTS, "gcs.join")
    expected = Counter(("gcs.get", "s3.head", *one_slice * 2, *_COMMIT, "gcs.list"))
    assert Counter(harness.steps) == expected
    harness.assert_equal()


# Faults


WRITES = (JOIN, Step("gcs.compose"))


def cuts() -> Iterator[Case]:
    """Yield each request, cut once if it reads: test_wire_cuts.py cuts reads everywhere."""
    for step in (*PLAN, LOOK, JOIN, *COMMIT):
        for place in step.places():
            if place == BEFORE_RESPONSE or (step in WRITES and place in CUTS):
                yield Case(OVERWRITE, step, place, "fin", fin)


@pytest.mark.parametrize("case", [*cuts()], ids=str)
def test_execution_survives_one_cut_anywhere(harness: Harness, case: Case) -> None:
    execute_case(harness, case)


def lasting_faults() -> Iterator[Case]:
    codes = frozenset({"TransientError"})
    for step in (*PLAN, Step("s3.resume"), Step("gcs.insert"), JOIN, *COMMIT):
        yield Case(OVERWRITE, step, BEFORE_REQUEST, "503", refuse(503), ALWAYS, codes=codes)
    for name in ("gcs.insert", "gcs.staged-patch", "gcs.join", "gcs.compose"):
        yield Case(OVERWRITE, Step(name), BEFORE_RESPONSE, "fin", fin, ALWAYS, codes=codes)


@pytest.mark.parametrize("case", [*lasting_faults()], ids=str)
def test_execution_fails_while_a_store_is_unavailable_and_the_next_one_succeeds(
    harness: Harness, case: Case
) -> None:
    execute_case(harness, case)


def test_execution_waits_for_no_stall_beyond_its_timeout(
    harness: Harness, environments: tuple[Environment, Environment]
) -> None:
    harness.function = Function(environments[1])
    steps = ("s3.resume", "gcs.insert", "gcs.join", "gcs.compose", "gcs.list")
    for seed, name in enumerate(steps):
        harness.put(noise(2 * SLICE, seed), checksum="CRC64NVME")
        fault = harness.inject(
            Fault(name, BEFORE_RESPONSE, lambda exchange: stall(harness, exchange))
        )
        assert execute(harness)
        assert fault.triggered
    harness.stop_faults()
    harness.assert_equal()


def wrong_answers() -> Iterator[Case]:
    """Yield responses that claim a lost race that nobody has won."""
    for name, *statuses in (
        ("gcs.get", 404),
        ("gcs.staged-get", 404),
        ("gcs.join", 404, 412),
        ("gcs.compose", 404, 412),
    ):
        for status in statuses:
            for place in (BEFORE_REQUEST, BEFORE_RESPONSE):
                if (name, place) != ("gcs.compose", BEFORE_REQUEST):
                    yield Case(OVERWRITE, Step(name), place, str(status), refuse(status))


@pytest.mark.parametrize("case", [*wrong_answers()], ids=str)
def test_execution_looks_again_after_a_lost_race_that_nobody_has_won(
    harness: Harness, case: Case
) -> None:
    execute_case(harness, case)


@pytest.mark.parametrize("status", [404, 412])
def test_execution_fails_when_a_policy_refuses_the_commit(harness: Harness, status: int) -> None:
    _overwrite(harness)
    harness.inject(Fault("gcs.compose", BEFORE_REQUEST, lambda _: refuse(status)(harness, _)))
    assert execute(harness) is None
    assert harness.observe() != harness.current
    assert harness.staged() == []
    assert execute(harness)
    harness.assert_equal()


# Concurrent changes


def source_overwritten(harness: Harness) -> None:
    harness.put(noise(2 * SLICE, seed=2), checksum="CRC64NVME", colour="yellow")


SOURCE_CHANGES = (source_overwritten, source_becomes_small, source_described, source_deleted)
DESTINATION_CHANGES = (
    destination_overwritten,
    destination_deleted,
    destination_described,
    staged_objects_deleted,
)
MOMENTS = {
    (Step("gcs.get"), BEFORE_RESPONSE): DESTINATION_CHANGES,
    (Step("s3.resume", 1), MID_RESPONSE): SOURCE_CHANGES,
    (Step("gcs.join"), BEFORE_REQUEST): (source_overwritten, staged_objects_deleted),
    (Step("gcs.join", 1), BEFORE_RESPONSE): SOURCE_CHANGES + DESTINATION_CHANGES,
    (Step("gcs.compose"), BEFORE_REQUEST): SOURCE_CHANGES + DESTINATION_CHANGES,
    (Step("gcs.compose"), BEFORE_RESPONSE): SOURCE_CHANGES,
}
"""The requests next to which each change may make a difference. The commit reads both sides again,
so what happens before is noticed there."""


RACES = [
    Case(OVERWRITE, step, place, change.__name__, once(change))
    for (step, place), changes in MOMENTS.items()
    for change in changes
]


@pytest.mark.parametrize("case", RACES, ids=str)
def test_execution_ends_equal_when_others_interfere(harness: Harness, case: Case) -> None:
    execute_case(harness, case)


# Repetition, kills and concurrent executions


@pytest.mark.parametrize("times", [2, 3])
def test_every_step_may_be_repeated(harness: Harness, times: int) -> None:
    _overwrite(harness)
    start: dict[str, Any] = {"version": None, "round": 0}
    state, *_ = [invoke(harness, "plan", start) for _ in range(times)]
    for number in [*state["slices"]] * times:
        invoke(harness, "slice", {**state, "number": number})
    assert harness.steps.count("s3.resume") == 2 * PARTS
    done = [invoke(harness, "commit", state)["done"] for _ in range(times)]
    assert done == [True] + [False] * (times - 1)
    for _ in range(times):
        invoke(harness, "sweep", state)
    harness.assert_equal()


def test_worker_that_comes_late_sends_nothing(harness: Harness) -> None:
    """The engine has given up a worker, and another execution has finished meanwhile."""
    _overwrite(harness)
    state = invoke(harness, "plan", {"version": None, "round": 0})
    assert execute(harness)
    assert invoke(harness, "slice", {**state, "number": 1}) == {"staged": False}
    assert invoke(harness, "commit", state)["done"] is False
    assert harness.staged() == []
    again = invoke(harness, "plan", {"version": state["version"], "round": 1})
    assert again["done"]
    harness.assert_equal()


@pytest.mark.parametrize(
    ("step", "place"),
    [
        ("s3.resume", MID_RESPONSE),
        ("gcs.insert", BEFORE_RESPONSE),
        ("gcs.staged-patch", BEFORE_REQUEST),
        ("gcs.join", BEFORE_RESPONSE),
        ("gcs.compose", BEFORE_REQUEST),
        ("gcs.compose", BEFORE_RESPONSE),
    ],
    ids=str,
)
@pytest.mark.parametrize("overwritten", [False, True])
def test_execution_that_is_stopped_is_finished_by_the_next_one(
    harness: Harness, step: str, place: Place, *, overwritten: bool
) -> None:
    """Nobody sweeps. What is staged for a version that is gone is left to the lifecycle rule."""
    _overwrite(harness)

    def leave_no_time(_: Exchange) -> None:
        harness.limit_time(0.0)
        raise CutError

    fault = harness.inject(Fault(step, place, leave_no_time))
    state = invoke(harness, "plan", {"version": None, "round": 0})
    with pytest.raises(TransientError, match=r"unavailable|out_of_time"):
        _stage_and_commit(harness, state)
    harness.stop_faults()
    assert fault.triggered
    left = {each["name"] for each in harness.staged()}
    if overwritten:
        source_overwritten(harness)
    assert execute(harness)
    if overwritten:
        assert {each["name"] for each in harness.staged()} <= left
        invoke(harness, "sweep", state)
    harness.assert_equal()


def _stage_and_commit(harness: Harness, state: dict[str, Any]) -> None:
    for number in state["slices"]:
        invoke(harness, "slice", {**state, "number": number})
    invoke(harness, "commit", state)


def test_slice_that_failed_reads_only_the_ranges_that_are_missing(harness: Harness) -> None:
    _overwrite(harness)
    state = invoke(harness, "plan", {"version": None, "round": 0})
    hour = refuse(503, {"Retry-After": "3600"})
    harness.inject(Fault("s3.resume", BEFORE_REQUEST, lambda _: hour(harness, _), skip=1))
    with pytest.raises(TransientError, match="source_unavailable"):
        invoke(harness, "slice", {**state, "number": 0})
    complete = sum("s3-staged-checksum" in each.get("metadata", {}) for each in harness.staged())
    harness.clear_requests()
    invoke(harness, "slice", {**state, "number": 0})
    assert harness.steps.count("s3.resume") == PARTS - complete
    assert [each["name"].rpartition("/")[2] for each in harness.staged()] == ["slice-0"]
    assert execute(harness)
    harness.assert_equal()


def test_two_executions_at_once_leave_one_object(
    harness: Harness, clouds: Clouds, environments: tuple[Environment, Environment]
) -> None:
    _overwrite(harness)
    other = Harness(clouds, Function(environments[1]), key=harness.key)
    with ThreadPoolExecutor(2) as pool:
        ended = [*pool.map(execute, (harness, other))]
    assert all(ended)
    if harness.staged():  # the slower one may have staged after the faster one had swept
        assert execute(harness)
    harness.assert_equal()


# Integrity


def test_wrong_bytes_are_found_before_the_commit_and_copied_again(harness: Harness) -> None:
    _overwrite(harness)
    case = Case(OVERWRITE, Step("s3.resume", 3), MID_RESPONSE, "flip", nothing, flip=True)
    fault = harness.inject(fault_of(harness, case))
    state = invoke(harness, "plan", {"version": None, "round": 0})
    with pytest.raises(WrongBytesError, match="integrity"):
        _stage_and_commit(harness, state)
    assert fault.triggered
    assert "gcs.compose" not in harness.steps
    assert harness.staged() == []
    assert invoke(harness, "commit", state)["done"] is False, "it is planned again"
    assert execute(harness)
    harness.assert_equal()


def test_execution_fails_when_the_bytes_stay_wrong(harness: Harness) -> None:
    _overwrite(harness)
    harness.inject(Fault("s3.resume", MID_RESPONSE, flip=True, times=ALWAYS))
    assert execute(harness) is None
    assert harness.observe() != harness.current
    assert harness.staged() == []
    assert execute(harness)
    harness.assert_equal()
