"""Connections that end where they should not: once, and the run heals; always, and it fails."""

from collections.abc import Iterable, Iterator

import pytest
from wire.cases import (
    AFTER,
    ALL_STEPS,
    ANSWERED,
    ARRIVAL,
    BEFORE,
    CHANGES,
    EACH_STEP,
    FOREVER,
    INSIDE,
    SCENARIOS,
    Case,
    Scenario,
    Step,
    play,
)
from wire.proxy import CutError, Exchange, Phase, Place
from wire.stage import Stage


def fin(_stage: Stage, _exchange: Exchange) -> None:
    """End the connections in good order, in the middle of something."""
    raise CutError


def rst(_stage: Stage, _exchange: Exchange) -> None:
    """Break the connections."""
    raise CutError(reset=True)


RESET_PLACES = {
    Place(Phase.REQUEST_BODY, INSIDE),
    ANSWERED,
    Place(Phase.RESPONSE_BODY, INSIDE),
}
"""A reset anywhere else looks like one of these."""

ORPHANED = {
    Place(Phase.REQUEST_BODY, AFTER),
    *(Place(Phase.RESPONSE_HEAD, part) for part in (BEFORE, INSIDE, AFTER)),
}
"""Cut off here, GCS may have opened an upload whose address is lost: nobody can cancel it."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_table_names_every_request_of_an_untroubled_run(
    stage: Stage, scenario: Scenario
) -> None:
    event = scenario.prepare(stage)
    assert stage.invoke(event).failure == ""
    assert stage.steps == [step.name for step in scenario.steps]
    stage.assert_equal()


def cuts(steps: Iterable[tuple[Scenario, Step]]) -> Iterator[Case]:
    for scenario, step in steps:
        for place in step.places():
            orphan = step.name == "gcs.start" and place in ORPHANED
            yield Case(scenario, step, place, "fin", fin, leaves_session=orphan)
            if place in RESET_PLACES:
                yield Case(scenario, step, place, "rst", rst, leaves_session=orphan)


@pytest.mark.parametrize("case", [*cuts(ALL_STEPS)], ids=str)
def test_a_run_survives_one_cut_anywhere(stage: Stage, case: Case) -> None:
    play(stage, case)


def lasting_cuts() -> Iterator[Case]:
    for scenario, step in EACH_STEP:
        codes = frozenset({f"{step.side}_unavailable"})
        yield Case(scenario, step, ARRIVAL, "always", fin, times=FOREVER, codes=codes)
    for scenario, step in CHANGES:
        heals = step.name in {"gcs.put", "gcs.final"}  # the session can be asked what became of it
        codes = frozenset() if heals else frozenset({"destination_unavailable"})
        orphan = step.name == "gcs.start"
        yield Case(
            scenario, step, ANSWERED, "always", fin, FOREVER, codes=codes, leaves_session=orphan
        )


@pytest.mark.parametrize("case", [*lasting_cuts()], ids=str)
def test_a_run_that_is_cut_off_again_and_again_can_be_repeated(stage: Stage, case: Case) -> None:
    play(stage, case)
