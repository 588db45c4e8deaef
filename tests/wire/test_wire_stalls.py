"""Stalled connections, and deadlines that pass."""

from collections.abc import Iterator

import pytest
from wire.cases import (
    ALWAYS,
    BEFORE_RESPONSE,
    COLD,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    INSIDE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    PATCH,
    STEP_KINDS,
    Case,
    Scenario,
    Step,
    run_case,
    stall,
)
from wire.harness import Clouds, Harness
from wire.proxy import Exchange, Phase, Place

from replicate.handler import Function

TOO_LATE = frozenset({"out_of_time", "source_unavailable", "destination_unavailable"})
STALLING = {Place(Phase.REQUEST_BODY, INSIDE), BEFORE_RESPONSE, Place(Phase.RESPONSE_BODY, INSIDE)}


def first_of_gcs(scenario: Scenario) -> Step:
    """Return the request that is not repeated when it gets no answer."""
    return next(step for step in scenario.steps if step.name.startswith("gcs."))


def stalls() -> Iterator[Case]:
    for scenario in (CREATE_SMALL, OVERWRITE_LARGE, PATCH, DELETE):
        for step in scenario.steps:
            for place in STALLING.intersection(step.places()):
                orphan = step.name == "gcs.start" and place == BEFORE_RESPONSE
                ends = step == first_of_gcs(scenario) and place.phase is not Phase.RESPONSE_BODY
                codes = frozenset({"destination_unavailable"} if ends else ())
                yield Case(
                    scenario, step, place, "stall", stall, codes=codes, leaves_session=orphan
                )


@pytest.mark.parametrize("case", sorted(stalls(), key=str), ids=str)
def test_run_survives_one_stall_or_leaves_the_event_to_its_redelivery(
    harness: Harness, case: Case
) -> None:
    """The first request to GCS is not repeated after a timeout: if GCS hangs, that only waits."""
    harness.function = Function(harness.clouds.short_timeout)
    run_case(harness, case)


def out_of_time(harness: Harness, _exchange: Exchange) -> None:
    """End the working time while the response is under way."""
    harness.limit_time(0.0)


def late_responses() -> Iterator[Case]:
    for scenario, step in STEP_KINDS:
        is_last = step == scenario.steps[-1]  # then no request is left
        codes = frozenset() if is_last else frozenset({"out_of_time"})
        yield Case(scenario, step, BEFORE_RESPONSE, "out-of-time", out_of_time, codes=codes)


@pytest.mark.parametrize("case", [*late_responses()], ids=str)
def test_run_out_of_time_ends_cleanly_and_can_be_repeated(harness: Harness, case: Case) -> None:
    run_case(harness, case)


def nearly_out_of_time(harness: Harness, _exchange: Exchange) -> None:
    """Leave just enough time for one more request, however late a busy machine sends it."""
    harness.limit_time(1.0)
    harness.clock.stop()


def last_body(harness: Harness, _exchange: Exchange) -> None:
    """Let time pass while the body is delayed.

    The client's wait has begun a little earlier. When it ends, no time is left.
    """
    harness.clock.go_on()
    harness.limit_time(0.5)


def last_stall(harness: Harness, exchange: Exchange) -> None:
    """Stall the last request."""
    last_body(harness, exchange)
    stall(harness, exchange)


def last_stalls() -> Iterator[Case]:
    for scenario in (CREATE_SMALL, OVERWRITE_LARGE, PATCH, DELETE):
        for step in scenario.steps[1:]:
            orphan = step.name == "gcs.start"
            yield Case(
                scenario,
                step,
                BEFORE_RESPONSE,
                "stall",
                last_stall,
                ALWAYS,
                codes=TOO_LATE,
                leaves_session=orphan,
            )


@pytest.mark.parametrize("case", [*last_stalls()], ids=str)
def test_run_ends_in_time_when_a_connection_stalls(harness: Harness, case: Case) -> None:
    """Otherwise Lambda would kill the run, which could then not cancel its upload."""
    run_case(harness, case, shortly_before(case))


def slow_bodies() -> Iterator[Case]:
    for scenario, chunk_delay_s in ((OVERWRITE_SMALL, 0.5), (CREATE_LARGE, 0.001)):
        body = Place(Phase.RESPONSE_BODY, INSIDE)
        yield Case(
            scenario,
            Step("s3.get"),
            body,
            "slow",
            last_body,
            ALWAYS,
            chunk_delay_s=chunk_delay_s,
            codes=TOO_LATE,
        )


@pytest.mark.parametrize("case", [*slow_bodies()], ids=str)
def test_slow_body_beyond_the_deadline_leaves_nothing_wrong(harness: Harness, case: Case) -> None:
    """Each wait is limited, but their sum is not: Lambda may end the run (GUARANTEES.md)."""
    run_case(harness, case, shortly_before(case), in_time=False)


def shortly_before(case: Case) -> Case:
    """Return the case that leaves nearly no time after the step before this one."""
    steps = case.scenario.steps
    before = steps[steps.index(case.step) - 1]
    return Case(case.scenario, before, BEFORE_RESPONSE, "", nearly_out_of_time)


@pytest.mark.parametrize("step", ["secret", "token"])
def test_run_ends_in_time_when_a_request_for_credentials_stalls(
    clouds: Clouds, harness: Harness, step: str
) -> None:
    harness.function = Function(clouds.new_environment())
    codes = TOO_LATE | {"credentials_invalid"}
    case = Case(COLD, Step(step), BEFORE_RESPONSE, "stall", last_stall, ALWAYS, codes=codes)
    run_case(harness, case, shortly_before(case))
