"""Connections that stand still, and time that runs out."""

from collections.abc import Iterator

import pytest
from wire.cases import (
    ANSWERED,
    COLD,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    EACH_STEP,
    FOREVER,
    INSIDE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    PATCH,
    Case,
    Step,
    nothing,
    play,
    stall,
)
from wire.proxy import Exchange, Phase, Place
from wire.stage import Clouds, Stage

from replicate.handler import Function

TOO_LATE = frozenset({"out_of_time", "source_unavailable", "destination_unavailable"})
STALLING = {Place(Phase.REQUEST_BODY, INSIDE), ANSWERED, Place(Phase.RESPONSE_BODY, INSIDE)}


def stalls() -> Iterator[Case]:
    for scenario in (CREATE_SMALL, OVERWRITE_LARGE, PATCH, DELETE):
        for step in scenario.steps:
            for place in STALLING.intersection(step.places()):
                orphan = step.name == "gcs.start" and place == ANSWERED
                yield Case(scenario, step, place, "stall", stall, leaves_session=orphan)


@pytest.mark.parametrize("case", sorted(stalls(), key=str), ids=str)
def test_a_run_survives_one_stall_longer_than_its_patience(stage: Stage, case: Case) -> None:
    stage.function = Function(stage.clouds.impatient)
    play(stage, case)


def out_of_time(stage: Stage, _exchange: Exchange) -> None:
    """Let the working time be over while the answer is on its way."""
    stage.leave(0.0)


def late_answers() -> Iterator[Case]:
    for scenario, step in EACH_STEP:
        is_last = step == scenario.steps[-1]  # then there is nothing left to do
        codes = frozenset() if is_last else frozenset({"out_of_time"})
        yield Case(scenario, step, ANSWERED, "out-of-time", out_of_time, codes=codes)


@pytest.mark.parametrize("case", [*late_answers()], ids=str)
def test_a_run_out_of_time_ends_in_good_order_and_can_be_repeated(stage: Stage, case: Case) -> None:
    play(stage, case)


def nearly_out_of_time(stage: Stage, _exchange: Exchange) -> None:
    """Let just enough time remain for one more request, if it is answered."""
    stage.leave(0.5)


def last_stalls() -> Iterator[Case]:
    for scenario in (CREATE_SMALL, OVERWRITE_LARGE, PATCH, DELETE):
        for step in scenario.steps[1:]:
            orphan = step.name == "gcs.start"
            yield Case(
                scenario,
                step,
                ANSWERED,
                "stall",
                stall,
                FOREVER,
                codes=TOO_LATE,
                leaves_session=orphan,
            )


@pytest.mark.parametrize("case", [*last_stalls()], ids=str)
def test_no_stall_keeps_a_run_beyond_its_time(stage: Stage, case: Case) -> None:
    """Whoever is waited for: Lambda would kill the run, and it could not clean up any more."""
    play(stage, case, shortly_before(case))


def drips() -> Iterator[Case]:
    for scenario, drip in ((OVERWRITE_SMALL, 0.5), (CREATE_LARGE, 0.001)):
        body = Place(Phase.RESPONSE_BODY, INSIDE)
        yield Case(
            scenario, Step("s3.get"), body, "drip", nothing, FOREVER, drip=drip, codes=TOO_LATE
        )


@pytest.mark.parametrize("case", [*drips()], ids=str)
def test_a_body_that_drips_beyond_the_time_leaves_nothing_wrong(stage: Stage, case: Case) -> None:
    """Each wait is bounded, their sum is not: Lambda may end the run first (GUARANTEES.md)."""
    play(stage, case, shortly_before(case), in_time=False)


def shortly_before(case: Case) -> Case:
    """Nearly no time is left when the step before this one is answered."""
    steps = case.scenario.steps
    before = steps[steps.index(case.step) - 1]
    return Case(case.scenario, before, ANSWERED, "", nearly_out_of_time)


@pytest.mark.parametrize("step", ["secret", "token"])
def test_no_wait_for_credentials_keeps_a_run_beyond_its_time(
    clouds: Clouds, stage: Stage, step: str
) -> None:
    stage.function = Function(clouds.cold())
    codes = TOO_LATE | {"credentials_invalid"}
    case = Case(COLD, Step(step), ANSWERED, "stall", stall, FOREVER, codes=codes)
    play(stage, case, shortly_before(case))
