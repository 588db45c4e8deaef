"""Requests that arrive after the run has given them up change nothing."""

import threading
from collections.abc import Callable

import pytest
from wire.cases import (
    BEFORE_REQUEST,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    PATCH,
    SMALL_TWO,
    Scenario,
)
from wire.harness import Harness
from wire.proxy import TIMEOUT_S, Exchange, Fault

from replicate.handler import Function


def overwritten(harness: Harness) -> None:
    harness.put(b"newer than all " * 900, colour="white")


def deleted(harness: Harness) -> None:
    harness.remove()


def deleted_and_restored(harness: Harness) -> None:
    harness.remove()
    assert harness.invoke(harness.event(kind="ObjectRemoved:Delete")).error_code == ""
    harness.put(SMALL_TWO, colour="white")


LATE = [
    (CREATE_SMALL, "gcs.insert"),
    (OVERWRITE_SMALL, "gcs.insert"),
    (CREATE_LARGE, "gcs.put"),
    (CREATE_LARGE, "gcs.final"),
    (OVERWRITE_LARGE, "gcs.final"),
    (PATCH, "gcs.patch"),
    (DELETE, "gcs.delete"),
]
NOT_PROMISED_CASES = {(CREATE_SMALL, "gcs.insert", deleted)}
"""The object is absent, so the precondition of the late request holds."""

NOT_PROMISED = pytest.mark.xfail(reason="not promised: docs/GUARANTEES.md has why")


@pytest.mark.parametrize(
    ("scenario", "step", "change"),
    [
        pytest.param(
            *row,
            id=f"{row[0]}-{row[1]}-{row[2].__name__}",
            marks=[NOT_PROMISED] * (row in NOT_PROMISED_CASES),
        )
        for row in (
            (*late, change)
            for late in LATE
            for change in (overwritten, deleted, deleted_and_restored)
        )
    ],
)
def test_late_request_changes_nothing(
    harness: Harness,
    scenario: Scenario,
    step: str,
    change: Callable[[Harness], None],
) -> None:
    event = scenario.prepare(harness)
    now = threading.Event()

    def hold(exchange: Exchange) -> None:
        exchange.read_ahead()
        now.wait(TIMEOUT_S)

    harness.clouds.short_timeout.gcs.circuit.responded()  # the cases before have opened it
    original, harness.function = harness.function, Function(harness.clouds.short_timeout)
    fault = harness.inject(Fault(step, BEFORE_REQUEST, hold))
    # The first request of an invocation is not repeated: its event is delivered again.
    expected = "destination_unavailable" if scenario is CREATE_SMALL else ""
    assert harness.invoke(event).error_code == expected
    assert fault.triggered
    harness.function = original
    change(harness)
    assert harness.invoke(harness.event()).error_code == ""
    harness.assert_equal()
    now.set()
    harness.stop_faults()
    harness.assert_equal()
    assert harness.open_sessions() == []
