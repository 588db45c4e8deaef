"""Several faults in one run."""

from itertools import combinations

import pytest
from wire.cases import BEFORE_RESPONSE, CREATE_LARGE, INSIDE
from wire.harness import Harness
from wire.proxy import CannedResponseError, CutError, Exchange, Fault, Phase, Place, response


def cut(_: Exchange) -> None:
    raise CutError


def refuse(_: Exchange) -> None:
    raise CannedResponseError(response(503))


FAULTS = {
    "body-cut": ("s3.get", Place(Phase.RESPONSE_BODY, INSIDE), cut),
    "rest-cut": ("s3.resume", Place(Phase.RESPONSE_BODY, INSIDE), cut),
    "upload-cut": ("gcs.put", Place(Phase.REQUEST_BODY, INSIDE), cut),
    "upload-refused": ("gcs.put", BEFORE_RESPONSE, refuse),
    "query-cut": ("gcs.query", BEFORE_RESPONSE, cut),
    "query-refused": ("gcs.query", BEFORE_RESPONSE, refuse),
    "end-cut": ("gcs.final", Place(Phase.REQUEST_BODY, INSIDE), cut),
    "end-lost": ("gcs.final", BEFORE_RESPONSE, cut),
    "verify-refused": ("s3.head", BEFORE_RESPONSE, refuse),
}


@pytest.mark.parametrize("names", [*combinations(FAULTS, 2)], ids="+".join)
def test_run_survives_two_faults(harness: Harness, names: tuple[str, ...]) -> None:
    event = CREATE_LARGE.prepare(harness)
    for name in names:
        step, place, action = FAULTS[name]
        harness.inject(Fault(step, place, action))
    assert harness.invoke(event).error_code == ""
    harness.stop_faults()
    assert harness.open_sessions() == []
    harness.assert_equal()


def test_run_survives_all_faults_at_once(harness: Harness) -> None:
    event = CREATE_LARGE.prepare(harness)
    faults = [harness.inject(Fault(*FAULTS[name])) for name in FAULTS]
    assert harness.invoke(event).error_code == ""
    harness.stop_faults()
    assert all(fault.triggered for fault in faults)
    assert harness.open_sessions() == []
    harness.assert_equal()
