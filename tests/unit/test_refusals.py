"""Failures of a condition that holds: when they count as a refusal."""

import pytest
from builders import REF, make_source

from replicate.errors import (
    DestinationChangedError,
    LostRaceError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol.evidence import HINT
from replicate.protocol.mapping import attributes
from replicate.protocol.model import Precondition, Reason, VerifiedBy
from replicate.protocol.plan import Copy
from replicate.protocol.run import Run

PLAN = Copy(make_source(), attributes(make_source()), Precondition(0))


def begin(run: Run) -> None:
    if run.refusals:
        run.refusals.require_none(PLAN)
    run.plan = PLAN


def lose(run: Run, lost_race: LostRaceError) -> None:
    begin(run)
    run.lose_race(lost_race)


def test_only_failures_in_a_row_and_of_one_kind_are_a_refusal() -> None:
    run = Run(
        ref=REF,
        name="key",
        uri="gs://b/key",
        started=0,
        delivered=HINT,
        evidence_now=HINT,
    )
    lose(run, SourceChangedError())
    begin(run)
    run.record_write(Reason.CREATED, VerifiedBy("made up", "made up"))
    lose(run, SourceChangedError())
    lose(run, DestinationChangedError())
    lose(run, SourceChangedError())
    lose(run, SourceChangedError("denied"))
    with pytest.raises(SourceForbiddenError, match=r"S3 refuses to give s3://source/key, .*denied"):
        begin(run)
