"""Transient error statuses and Retry-After."""

from collections.abc import Iterator

import pytest
from wire.cases import (
    ALWAYS,
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    CREATE_LARGE,
    CREATE_SMALL,
    STEP_KINDS,
    WRITE_STEPS,
    Case,
    Step,
    refuse,
    run_case,
)
from wire.harness import SHORT_DELAY, Harness

TRANSIENT = (408, 429, 500, 503)


def refusals() -> Iterator[Case]:
    """Yield every status for every kind of request, and one where another scenario has it, too."""
    seen: set[str] = set()
    for scenario, step in STEP_KINDS:
        for status in TRANSIENT[-1:] if step.name in seen else TRANSIENT:
            yield Case(scenario, step, BEFORE_REQUEST, str(status), refuse(status))
        seen.add(step.name)


@pytest.mark.parametrize("case", [*refusals()], ids=str)
def test_run_survives_one_transient_status_at_any_step(harness: Harness, case: Case) -> None:
    run_case(harness, case)


def false_refusals() -> Iterator[Case]:
    for scenario, step in WRITE_STEPS:
        for status in (429, 503):
            orphan = step.name == "gcs.start"  # its address is lost
            yield Case(
                scenario, step, BEFORE_RESPONSE, str(status), refuse(status), leaves_session=orphan
            )


@pytest.mark.parametrize("case", [*false_refusals()], ids=str)
def test_run_recognizes_its_own_write_when_the_response_is_an_error(
    harness: Harness, case: Case
) -> None:
    run_case(harness, case)


RETRY_AFTER_CASES = [
    Case(CREATE_SMALL, Step("s3.get"), BEFORE_REQUEST, "503", refuse(503, {"Retry-After": "1"})),
    Case(
        CREATE_SMALL, Step("gcs.insert"), BEFORE_REQUEST, "429", refuse(429, {"Retry-After": "1"})
    ),
    Case(CREATE_LARGE, Step("gcs.put"), BEFORE_REQUEST, "503", refuse(503, {"Retry-After": "1"})),
    Case(CREATE_LARGE, Step("gcs.final"), BEFORE_REQUEST, "503", refuse(503, {"Retry-After": "1"})),
]


@pytest.mark.parametrize("case", RETRY_AFTER_CASES, ids=str)
def test_run_waits_as_long_as_retry_after_says(harness: Harness, case: Case) -> None:
    assert run_case(harness, case).seconds >= 1


def lasting_refusals() -> Iterator[Case]:
    for scenario, step in STEP_KINDS:
        unavailable = frozenset({f"{step.side}_unavailable"})
        throttled = frozenset({"throttled"})
        hour = refuse(503, {"Retry-After": "3600"})
        yield Case(
            scenario, step, BEFORE_REQUEST, "429-always", refuse(429), ALWAYS, codes=throttled
        )
        yield Case(scenario, step, BEFORE_REQUEST, "503-for-an-hour", hour, codes=unavailable)


@pytest.mark.parametrize("case", [*lasting_refusals()], ids=str)
def test_run_fails_after_some_attempts_and_can_be_repeated_when_refusals_continue(
    harness: Harness, case: Case
) -> None:
    """It does not wait for an hour."""
    run_case(harness, case)
    refused = [each for each in harness.requests if each.status is None]
    assert len(refused) == (1 if case.what == "503-for-an-hour" else SHORT_DELAY.attempts)
