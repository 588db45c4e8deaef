"""Concurrent changes of source or destination. The destination equals the source in the end."""

from collections.abc import Callable

import pytest
from wire.cases import (
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    MID_REQUEST,
    MID_RESPONSE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    PATCH,
    SMALL_ONE,
    Case,
    Scenario,
    Step,
    once,
    run_case,
)
from wire.concurrent_changes import (
    destination_deleted,
    destination_described,
    destination_overwritten,
    source_deleted,
    source_described,
)
from wire.harness import Harness
from wire.proxy import CutError, Exchange, Fault

ConcurrentChange = Callable[[Harness], None]


def source_overwritten(harness: Harness) -> None:
    harness.put(b"three " * 2700, colour="yellow")


def source_overwritten_and_restored(harness: Harness) -> None:
    harness.put(b"four")
    harness.put(SMALL_ONE, colour="red")


SOURCE_CHANGES = (
    source_overwritten,
    source_described,
    source_deleted,
    source_overwritten_and_restored,
)
DESTINATION_CHANGES = (destination_overwritten, destination_deleted, destination_described)
BEFORE_THE_CHANGE = {
    CREATE_SMALL: [("s3.get", MID_RESPONSE), ("gcs.insert", BEFORE_REQUEST)],
    OVERWRITE_SMALL: [
        ("gcs.get", BEFORE_RESPONSE),
        ("s3.head", BEFORE_RESPONSE),
        ("gcs.insert", BEFORE_REQUEST),
    ],
    CREATE_LARGE: [("gcs.put", MID_REQUEST), ("gcs.final", BEFORE_REQUEST)],
    OVERWRITE_LARGE: [("s3.get", MID_RESPONSE), ("gcs.final", BEFORE_REQUEST)],
    PATCH: [("gcs.get", BEFORE_RESPONSE), ("gcs.patch", BEFORE_REQUEST)],
}
AFTER_THE_CHANGE = {
    CREATE_SMALL: "gcs.insert",
    OVERWRITE_LARGE: "gcs.final",
    PATCH: "gcs.patch",
}
"""Here a run does not notice changes at the destination, for which S3 sends no event."""


RACES = [
    *(
        Case(scenario, Step(step), place, change.__name__, once(change))
        for scenario, moments in BEFORE_THE_CHANGE.items()
        for step, place in moments
        for change in SOURCE_CHANGES + DESTINATION_CHANGES
    ),
    *(
        Case(scenario, Step(step), BEFORE_RESPONSE, change.__name__, once(change))
        for scenario, step in AFTER_THE_CHANGE.items()
        for change in SOURCE_CHANGES
    ),
    *(
        Case(DELETE, Step(step), place, change.__name__, once(change))
        for step, place in (
            ("gcs.get", BEFORE_RESPONSE),
            ("gcs.delete", BEFORE_REQUEST),
            ("gcs.delete", BEFORE_RESPONSE),
        )
        for change in (source_overwritten, source_overwritten_and_restored, destination_deleted)
    ),
]


@pytest.mark.parametrize("case", RACES, ids=str)
def test_destination_equals_the_source_after_a_concurrent_change(
    harness: Harness, case: Case
) -> None:
    run_case(harness, case)


@pytest.mark.parametrize("scenario", [CREATE_SMALL, CREATE_LARGE], ids=str)
@pytest.mark.parametrize("change", [source_overwritten, source_deleted])
def test_broken_body_is_not_resumed_with_bytes_of_another_version(
    harness: Harness, scenario: Scenario, change: ConcurrentChange
) -> None:
    event = scenario.prepare(harness)

    def change_and_cut(_: Exchange) -> None:
        change(harness)
        raise CutError

    fault = harness.inject(Fault("s3.get", MID_RESPONSE, change_and_cut))
    assert harness.invoke(event).error_code == ""
    harness.stop_faults()
    assert fault.triggered
    assert harness.open_sessions() == []
    harness.assert_equal()


def test_foreign_object_is_not_deleted(harness: Harness) -> None:
    event = DELETE.prepare(harness)
    harness.inject(
        Fault("gcs.delete", BEFORE_REQUEST, lambda _: harness.overwrite_destination(b"theirs"))
    )
    assert harness.invoke(event).result["reason"] == "source_gone"
    assert harness.observe() is not None
    assert harness.violations == []
