"""Servers that say: not now."""

from collections.abc import Iterator

import pytest
from wire.cases import (
    ANSWERED,
    ARRIVAL,
    CHANGES,
    CREATE_LARGE,
    CREATE_SMALL,
    EACH_STEP,
    FOREVER,
    Case,
    Step,
    play,
    refuse,
)
from wire.stage import Stage

TRANSIENT = (408, 429, 500, 503)


def refusals() -> Iterator[Case]:
    for scenario, step in EACH_STEP:
        for status in TRANSIENT:
            yield Case(scenario, step, ARRIVAL, str(status), refuse(status))


@pytest.mark.parametrize("case", [*refusals()], ids=str)
def test_a_run_survives_one_refusal_anywhere(stage: Stage, case: Case) -> None:
    play(stage, case)


def false_refusals() -> Iterator[Case]:
    for scenario, step in CHANGES:
        for status in (429, 503):
            orphan = step.name == "gcs.start"  # its address was never told
            yield Case(scenario, step, ANSWERED, str(status), refuse(status), leaves_session=orphan)


@pytest.mark.parametrize("case", [*false_refusals()], ids=str)
def test_a_run_recognises_its_own_change_that_was_answered_with_a_refusal(
    stage: Stage, case: Case
) -> None:
    play(stage, case)


PATIENT = [
    Case(CREATE_SMALL, Step("s3.get"), ARRIVAL, "503", refuse(503, {"Retry-After": "1"})),
    Case(CREATE_SMALL, Step("gcs.insert"), ARRIVAL, "429", refuse(429, {"Retry-After": "1"})),
    Case(CREATE_LARGE, Step("gcs.put"), ARRIVAL, "503", refuse(503, {"Retry-After": "1"})),
    Case(CREATE_LARGE, Step("gcs.final"), ARRIVAL, "503", refuse(503, {"Retry-After": "1"})),
]


@pytest.mark.parametrize("case", PATIENT, ids=str)
def test_a_run_waits_as_long_as_it_is_asked_to(stage: Stage, case: Case) -> None:
    assert play(stage, case).seconds >= 1


def lasting_refusals() -> Iterator[Case]:
    for scenario, step in EACH_STEP:
        unavailable = frozenset({f"{step.side}_unavailable"})
        throttled = frozenset({"throttled"})
        hour = refuse(503, {"Retry-After": "3600"})
        yield Case(scenario, step, ARRIVAL, "429-always", refuse(429), FOREVER, codes=throttled)
        yield Case(scenario, step, ARRIVAL, "503-for-an-hour", hour, codes=unavailable)


@pytest.mark.parametrize("case", [*lasting_refusals()], ids=str)
def test_a_run_that_is_refused_for_too_long_fails_in_time_and_can_be_repeated(
    stage: Stage, case: Case
) -> None:
    assert play(stage, case).seconds < 20
