"""SIGKILL at every step: nobody cleans up, and the event's second delivery ends equal."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from wire import killed
from wire.cases import (
    ANSWERED,
    ARRIVAL,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    INSIDE,
    OVERWRITE_LARGE,
    PATCH,
    Scenario,
)
from wire.proxy import PATIENCE_S, CutError, Exchange, Fault, Phase, Place
from wire.stage import Stage

KILLS = [
    (CREATE_SMALL, "s3.get", Place(Phase.RESPONSE_BODY, INSIDE)),
    (CREATE_SMALL, "gcs.insert", Place(Phase.REQUEST_BODY, INSIDE)),
    (CREATE_SMALL, "gcs.insert", ANSWERED),
    (CREATE_LARGE, "gcs.start", ANSWERED),
    (CREATE_LARGE, "gcs.put", Place(Phase.REQUEST_BODY, INSIDE)),
    (CREATE_LARGE, "gcs.final", ARRIVAL),
    (OVERWRITE_LARGE, "gcs.final", ANSWERED),
    (OVERWRITE_LARGE, "s3.head", ARRIVAL),
    (PATCH, "gcs.patch", ANSWERED),
    (DELETE, "gcs.delete", ARRIVAL),
    (DELETE, "gcs.delete", ANSWERED),
]


@pytest.mark.parametrize(("scenario", "step", "place"), KILLS, ids=str)
def test_a_run_that_is_killed_leaves_nothing_wrong_and_can_be_repeated(
    stage: Stage, scenario: Scenario, step: str, place: Place
) -> None:
    event = scenario.prepare(stage)
    reached, dead = threading.Event(), threading.Event()

    def wait_for_the_end(_: Exchange) -> None:
        reached.set()
        dead.wait(PATIENCE_S)
        raise CutError(reset=True)  # what the kernel does with a dead process's connections

    stage.spoil(Fault(step, place, wait_for_the_end))
    run = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, killed.__file__, json.dumps(event)],
        env={
            **stage.clouds.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PATH": os.environ["PATH"],
        },
        cwd=Path(killed.__file__).parent,
        stdout=subprocess.DEVNULL,
    )
    try:
        assert reached.wait(PATIENCE_S), "the run never came there"
    finally:
        run.kill()
        run.wait()
        dead.set()
    stage.settle()
    stage.look()
    assert stage.invoke(event).failure == ""
    stage.assert_equal()
