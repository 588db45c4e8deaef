"""Failures of a condition that holds: when they count as a refusal."""

import pytest
from builders import REF, make_source

from replicate.errors import (
    DestinationChangedError,
    LostRaceError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol.mapping import attributes
from replicate.protocol.model import Precondition
from replicate.protocol.plan import Copy
from replicate.protocol.run import Refusals

PLAN = Copy(make_source(), attributes(make_source()), Precondition(0))


def lose(refusals: Refusals, lost_race: LostRaceError) -> None:
    refusals.require_none(PLAN)
    refusals.lost(lost_race)


def test_only_failures_in_a_row_and_of_one_kind_are_a_refusal() -> None:
    refusals = Refusals(REF)
    lose(refusals, SourceChangedError())
    refusals.require_none(PLAN)
    refusals.succeeded()
    lose(refusals, SourceChangedError())
    lose(refusals, DestinationChangedError())
    lose(refusals, SourceChangedError())
    lose(refusals, SourceChangedError("denied"))
    with pytest.raises(
        SourceForbiddenError, match=r"S3 refuses to give s3://source/key, .*: denied"
    ):
        refusals.require_none(PLAN)
