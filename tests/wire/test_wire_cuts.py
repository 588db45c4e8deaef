"""Connections that are cut. The run succeeds after one cut, and fails after repeated cuts."""

from collections.abc import Iterator

import pytest
from wire.cases import (
    AFTER,
    ALL_STEPS,
    ALWAYS,
    BEFORE,
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    CREATE_LARGE,
    INSIDE,
    SCENARIOS,
    STEP_KINDS,
    WRITE_STEPS,
    Case,
    Scenario,
    fin,
    rst,
    run_case,
)
from wire.harness import Harness
from wire.proxy import Phase, Place

RESET_PLACES = {
    Place(Phase.REQUEST_BODY, INSIDE),
    BEFORE_RESPONSE,
    Place(Phase.RESPONSE_BODY, INSIDE),
}
"""A reset at any other place looks to the client like one of these."""

ORPHANED = {
    Place(Phase.REQUEST_BODY, AFTER),
    *(Place(Phase.RESPONSE_HEAD, part) for part in (BEFORE, INSIDE, AFTER)),
}
"""After a cut here, GCS may have opened a session whose address is lost, so it stays open."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_scenario_lists_every_request_of_a_run_without_faults(
    harness: Harness, scenario: Scenario
) -> None:
    event = scenario.prepare(harness)
    assert harness.invoke(event).error_code == ""
    assert harness.steps == [step.name for step in scenario.steps]
    harness.assert_equal()


def cuts() -> Iterator[Case]:
    """Yield each kind of request cut everywhere, and the same request of another scenario."""
    for scenario, step in ALL_STEPS:
        if scenario is CREATE_LARGE and step.name not in {"gcs.start", "gcs.final"}:
            continue  # only the precondition differs from that of OVERWRITE_LARGE
        is_kind = (scenario, step) in STEP_KINDS
        for place in step.places() if is_kind else RESET_PLACES.intersection(step.places()):
            orphan = step.name == "gcs.start" and place in ORPHANED
            yield Case(scenario, step, place, "fin", fin, leaves_session=orphan)
            if is_kind and place in RESET_PLACES:
                yield Case(scenario, step, place, "rst", rst, leaves_session=orphan)


@pytest.mark.parametrize("case", sorted(cuts(), key=str), ids=str)
def test_run_survives_one_cut_at_any_place(harness: Harness, case: Case) -> None:
    run_case(harness, case)


def lasting_cuts() -> Iterator[Case]:
    for scenario, step in STEP_KINDS:
        codes = frozenset({f"{step.side}_unavailable"})
        yield Case(scenario, step, BEFORE_REQUEST, "always", fin, times=ALWAYS, codes=codes)
    for scenario, step in WRITE_STEPS:
        heals = step.name in {"gcs.put", "gcs.final"}  # the status of the session can be queried
        codes = frozenset() if heals else frozenset({"destination_unavailable"})
        orphan = step.name == "gcs.start"
        yield Case(
            scenario,
            step,
            BEFORE_RESPONSE,
            "always",
            fin,
            ALWAYS,
            codes=codes,
            leaves_session=orphan,
        )


@pytest.mark.parametrize("case", [*lasting_cuts()], ids=str)
def test_run_can_be_repeated_after_repeated_cuts(harness: Harness, case: Case) -> None:
    run_case(harness, case)
