"""Requests that arrive long after everybody gave them up: they change nothing any more."""

import threading
from collections.abc import Callable

import pytest
from wire.cases import (
    ARRIVAL,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    PATCH,
    SMALL_TWO,
    Scenario,
)
from wire.proxy import PATIENCE_S, Exchange, Fault
from wire.stage import Stage

from replicate.handler import Function


def overwritten(stage: Stage) -> None:
    stage.put(b"newer than all " * 900, colour="white")


def deleted(stage: Stage) -> None:
    stage.remove()


def gone_and_back(stage: Stage) -> None:
    stage.remove()
    assert stage.invoke(stage.event(kind="ObjectRemoved:Delete")).failure == ""
    stage.put(SMALL_TWO, colour="white")


LATE = [
    (CREATE_SMALL, "gcs.insert"),
    (OVERWRITE_SMALL, "gcs.insert"),
    (CREATE_LARGE, "gcs.put"),
    (CREATE_LARGE, "gcs.final"),
    (OVERWRITE_LARGE, "gcs.final"),
    (PATCH, "gcs.patch"),
    (DELETE, "gcs.delete"),
]
BEYOND = {(CREATE_SMALL, "gcs.insert", deleted)}
"""Nothing at all is at the destination, and that is all that the late request asks for."""

NOT_PROMISED = pytest.mark.xfail(reason="not promised: docs/GUARANTEES.md has why")


@pytest.mark.parametrize(
    ("scenario", "step", "since"),
    [
        pytest.param(
            *row,
            id=f"{row[0]}-{row[1]}-{row[2].__name__}",
            marks=[NOT_PROMISED] * (row in BEYOND),
        )
        for row in (
            (*late, since) for late in LATE for since in (overwritten, deleted, gone_and_back)
        )
    ],
)
def test_a_request_that_arrives_late_changes_nothing(
    stage: Stage,
    scenario: Scenario,
    step: str,
    since: Callable[[Stage], None],
) -> None:
    event = scenario.prepare(stage)
    now = threading.Event()

    def hold(exchange: Exchange) -> None:
        exchange.read_ahead()
        now.wait(PATIENCE_S)

    patient, stage.function = stage.function, Function(stage.clouds.impatient)
    fault = stage.spoil(Fault(step, ARRIVAL, hold))
    assert stage.invoke(event).failure == ""
    assert fault.struck
    stage.function = patient
    since(stage)
    assert stage.invoke(stage.event()).failure == ""
    stage.assert_equal()
    now.set()
    stage.settle()
    stage.assert_equal()
    assert stage.open_sessions() == []
