"""Others who change source or destination while a run is at work: it ends equal all the same."""

from collections.abc import Callable

import pytest
from wire.cases import (
    ANSWERED,
    ARRIVAL,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    INSIDE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    PATCH,
    SMALL_ONE,
    Case,
    Scenario,
    Step,
    play,
)
from wire.proxy import CutError, Exchange, Fault, Phase, Place
from wire.stage import Stage

Deed = Callable[[Stage], None]

MID_ANSWER = Place(Phase.RESPONSE_BODY, INSIDE)
MID_REQUEST = Place(Phase.REQUEST_BODY, INSIDE)


def source_overwritten(stage: Stage) -> None:
    stage.put(b"three " * 2700, colour="yellow")


def source_described(stage: Stage) -> None:
    stage.describe(colour="black")


def source_deleted(stage: Stage) -> None:
    stage.remove()


def source_overwritten_and_back(stage: Stage) -> None:
    stage.put(b"four")
    stage.put(SMALL_ONE, colour="red")


def destination_overwritten(stage: Stage) -> None:
    stage.meddle()


def destination_deleted(stage: Stage) -> None:
    stage.clouds.gcs.delete(stage.key)


def destination_described(stage: Stage) -> None:
    """Only the metageneration moves, and only where there is an object."""
    reply = stage.clouds.gcs.patch(stage.key, {"metadata": {"mine": "now"}})
    if reply.status == 200:
        stage.allow(reply.json)


SOURCE_DEEDS = (source_overwritten, source_described, source_deleted, source_overwritten_and_back)
DESTINATION_DEEDS = (destination_overwritten, destination_deleted, destination_described)
BEFORE_THE_CHANGE = {
    CREATE_SMALL: [("s3.get", MID_ANSWER), ("gcs.insert", ARRIVAL)],
    OVERWRITE_SMALL: [("gcs.get", ANSWERED), ("s3.head", ANSWERED), ("gcs.insert", ARRIVAL)],
    CREATE_LARGE: [("gcs.put", MID_REQUEST), ("gcs.final", ARRIVAL)],
    OVERWRITE_LARGE: [("s3.get", MID_ANSWER), ("gcs.final", ARRIVAL)],
    PATCH: [("gcs.get", ANSWERED), ("gcs.patch", ARRIVAL)],
}
AFTER_THE_CHANGE = {
    CREATE_SMALL: "gcs.insert",
    OVERWRITE_LARGE: "gcs.final",
    PATCH: "gcs.patch",
}
"""Too late to see what others do to the destination: no event of S3 tells of that."""


def once(deed: Deed) -> Callable[[Stage, Exchange], None]:
    return lambda stage, _: deed(stage)


RACES = [
    *(
        Case(scenario, Step(step), place, deed.__name__, once(deed))
        for scenario, moments in BEFORE_THE_CHANGE.items()
        for step, place in moments
        for deed in SOURCE_DEEDS + DESTINATION_DEEDS
    ),
    *(
        Case(scenario, Step(step), ANSWERED, deed.__name__, once(deed))
        for scenario, step in AFTER_THE_CHANGE.items()
        for deed in SOURCE_DEEDS
    ),
    *(
        Case(DELETE, Step(step), place, deed.__name__, once(deed))
        for step, place in (
            ("gcs.get", ANSWERED),
            ("gcs.delete", ARRIVAL),
            ("gcs.delete", ANSWERED),
        )
        for deed in (source_overwritten, source_overwritten_and_back, destination_deleted)
    ),
]


@pytest.mark.parametrize("case", RACES, ids=str)
def test_a_run_ends_equal_whoever_interferes(stage: Stage, case: Case) -> None:
    play(stage, case)


@pytest.mark.parametrize("scenario", [CREATE_SMALL, CREATE_LARGE], ids=str)
@pytest.mark.parametrize("deed", [source_overwritten, source_deleted])
def test_a_broken_body_is_not_continued_with_bytes_of_another_version(
    stage: Stage, scenario: Scenario, deed: Deed
) -> None:
    event = scenario.prepare(stage)

    def change_and_cut(_: Exchange) -> None:
        deed(stage)
        raise CutError

    fault = stage.spoil(Fault("s3.get", MID_ANSWER, change_and_cut))
    assert stage.invoke(event).failure == ""
    stage.settle()
    assert fault.struck
    assert stage.open_sessions() == []
    stage.assert_equal()


def test_an_object_of_somebody_else_is_not_deleted(stage: Stage) -> None:
    event = DELETE.prepare(stage)
    stage.spoil(Fault("gcs.delete", ARRIVAL, lambda _: stage.meddle(b"theirs")))
    assert stage.invoke(event).told["reason"] == "source_gone"
    assert stage.look() is not None
    assert stage.violations == []
