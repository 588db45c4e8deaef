"""Several faults in one run."""

from itertools import combinations

import pytest
from wire.cases import ANSWERED, CREATE_LARGE, INSIDE
from wire.proxy import AnswerError, CutError, Exchange, Fault, Phase, Place, answer
from wire.stage import Stage


def cut(_: Exchange) -> None:
    raise CutError


def refuse(_: Exchange) -> None:
    raise AnswerError(answer(503))


BREAKS = {
    "body-cut": ("s3.get", Place(Phase.RESPONSE_BODY, INSIDE), cut),
    "rest-cut": ("s3.resume", Place(Phase.RESPONSE_BODY, INSIDE), cut),
    "upload-cut": ("gcs.put", Place(Phase.REQUEST_BODY, INSIDE), cut),
    "upload-refused": ("gcs.put", ANSWERED, refuse),
    "question-cut": ("gcs.ask", ANSWERED, cut),
    "question-refused": ("gcs.ask", ANSWERED, refuse),
    "end-cut": ("gcs.final", Place(Phase.REQUEST_BODY, INSIDE), cut),
    "end-lost": ("gcs.final", ANSWERED, cut),
    "look-refused": ("s3.head", ANSWERED, refuse),
}


@pytest.mark.parametrize("names", [*combinations(BREAKS, 2)], ids="+".join)
def test_a_run_survives_two_faults(stage: Stage, names: tuple[str, ...]) -> None:
    event = CREATE_LARGE.prepare(stage)
    for name in names:
        step, place, strike = BREAKS[name]
        stage.spoil(Fault(step, place, strike))
    assert stage.invoke(event).failure == ""
    stage.settle()
    assert stage.open_sessions() == []
    stage.assert_equal()


def test_a_run_survives_all_of_them(stage: Stage) -> None:
    event = CREATE_LARGE.prepare(stage)
    faults = [stage.spoil(Fault(*BREAKS[name])) for name in BREAKS]
    assert stage.invoke(event).failure == ""
    stage.settle()
    assert all(fault.struck for fault in faults)
    assert stage.open_sessions() == []
    stage.assert_equal()
