"""SIGKILL at every step. Nothing cleans up, and the second delivery of the event succeeds."""

import threading

import pytest
from wire import invocation_process
from wire.cases import (
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    INSIDE,
    OVERWRITE_LARGE,
    PATCH,
    Scenario,
)
from wire.harness import Harness
from wire.proxy import TIMEOUT_S, CutError, Exchange, Fault, Phase, Place

KILLS = [
    (CREATE_SMALL, "s3.get", Place(Phase.RESPONSE_BODY, INSIDE)),
    (CREATE_SMALL, "gcs.insert", Place(Phase.REQUEST_BODY, INSIDE)),
    (CREATE_SMALL, "gcs.insert", BEFORE_RESPONSE),
    (CREATE_LARGE, "gcs.start", BEFORE_RESPONSE),
    (CREATE_LARGE, "gcs.put", Place(Phase.REQUEST_BODY, INSIDE)),
    (CREATE_LARGE, "gcs.final", BEFORE_REQUEST),
    (OVERWRITE_LARGE, "gcs.final", BEFORE_RESPONSE),
    (OVERWRITE_LARGE, "s3.head", BEFORE_REQUEST),
    (PATCH, "gcs.patch", BEFORE_RESPONSE),
    (DELETE, "gcs.delete", BEFORE_REQUEST),
    (DELETE, "gcs.delete", BEFORE_RESPONSE),
]


@pytest.mark.parametrize(("scenario", "step", "place"), KILLS, ids=str)
def test_killed_run_leaves_nothing_wrong_and_can_be_repeated(
    harness: Harness, scenario: Scenario, step: str, place: Place
) -> None:
    event = scenario.prepare(harness)
    reached, dead = threading.Event(), threading.Event()

    def wait_for_the_end(_: Exchange) -> None:
        reached.set()
        dead.wait(TIMEOUT_S)
        raise CutError(reset=True)  # the kernel resets the connections of a killed process

    harness.inject(Fault(step, place, wait_for_the_end))
    run = invocation_process.start(event, harness.clouds.environ)
    try:
        assert reached.wait(TIMEOUT_S), "the run did not reach the fault"
    finally:
        run.kill()
        run.join()
        dead.set()
    harness.stop_faults()
    harness.observe()
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()
