"""Bytes that change on the way: never visible, not for a moment, and right the next time."""

from dataclasses import replace

import pytest
from contract.gcs_http import noise
from wire.cases import (
    ARRIVAL,
    BEFORE,
    CREATE_LARGE,
    CREATE_SMALL,
    INSIDE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    Case,
    Scenario,
    Step,
    nothing,
    play,
)
from wire.proxy import AnswerError, CutError, Exchange, Fault, Phase, Place, Strike, answer
from wire.stage import KIB, MIB, Stage

from tools.local.gcs import Fault as ServerFault

INTEGRITY = frozenset({"integrity"})
MID_BODY = Place(Phase.RESPONSE_BODY, INSIDE)


def flips() -> list[Case]:
    """One bit, wherever bytes of the object travel."""
    read = [
        Case(scenario, Step("s3.get"), Place(Phase.RESPONSE_BODY, part), "flip", nothing)
        for scenario in (CREATE_SMALL, OVERWRITE_SMALL, CREATE_LARGE, OVERWRITE_LARGE)
        for part in (BEFORE, INSIDE)
    ]
    written = [
        Case(scenario, Step(name), Place(Phase.REQUEST_BODY, part), "flip", nothing)
        for scenario, name, part in (
            (CREATE_SMALL, "gcs.insert", INSIDE),
            (OVERWRITE_SMALL, "gcs.insert", INSIDE),
            (CREATE_LARGE, "gcs.put", BEFORE),
            (CREATE_LARGE, "gcs.final", BEFORE),
            (OVERWRITE_LARGE, "gcs.put", INSIDE),
            (OVERWRITE_LARGE, "gcs.final", INSIDE),
        )
    ]
    return [replace(case, flip=True, codes=INTEGRITY) for case in read + written]


@pytest.mark.parametrize("case", flips(), ids=str)
def test_a_flipped_bit_is_never_visible_and_gone_the_next_time(stage: Stage, case: Case) -> None:
    play(stage, case)


def cut(_: Exchange) -> None:
    raise CutError


def whole_instead_of_the_rest(_: Exchange) -> None:
    raise AnswerError(answer(200, {"ETag": '"any"'}, b"from the very beginning"))


def nothing_at_all(_: Exchange) -> None:
    raise AnswerError(answer(206))


def another_range(exchange: Exchange) -> None:
    """As many bytes as were asked for, from elsewhere in the object."""
    del exchange
    raise AnswerError(answer(206, {"Content-Range": "bytes 0-22/23"}, b"from the very beginning"))


@pytest.mark.parametrize("scenario", [CREATE_SMALL, CREATE_LARGE], ids=str)
@pytest.mark.parametrize("rest", [whole_instead_of_the_rest, nothing_at_all, another_range])
def test_what_is_not_the_rest_of_a_broken_body_is_not_taken_for_it(
    stage: Stage, scenario: Scenario, rest: Strike
) -> None:
    event = scenario.prepare(stage)
    stage.spoil(Fault("s3.get", MID_BODY, cut))
    fault = stage.spoil(Fault("s3.resume", ARRIVAL, rest, times=100))
    first = stage.invoke(event)
    stage.settle()
    assert fault.struck
    assert (first.failure, first.is_retryable) == ("source_unavailable", True)
    assert stage.look() is None
    assert stage.open_sessions() == []
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


@pytest.mark.parametrize("strike", [cut, whole_instead_of_the_rest, nothing_at_all, another_range])
def test_a_range_is_requested_again_after_a_wrong_response(stage: Stage, strike: Strike) -> None:
    """A head that is cut off in the middle looks like a complete one without some headers."""
    event = CREATE_LARGE.prepare(stage)
    stage.spoil(Fault("s3.get", MID_BODY, cut))
    fault = stage.spoil(Fault("s3.resume", Place(Phase.RESPONSE_HEAD, INSIDE), strike))
    assert stage.invoke(event).failure == ""
    assert fault.struck == 1
    stage.assert_equal()


@pytest.mark.parametrize("scenario", [CREATE_SMALL, CREATE_LARGE], ids=str)
def test_a_bit_flipped_in_the_rest_of_a_broken_body_is_found(
    stage: Stage, scenario: Scenario
) -> None:
    stage.spoil(Fault("s3.get", MID_BODY, cut))
    rest = Case(scenario, Step("s3.resume"), MID_BODY, "flip", nothing, flip=True, codes=INTEGRITY)
    play(stage, rest)


def test_a_corrupt_tail_that_gcs_kept_when_the_connection_broke_is_never_visible(
    stage: Stage,
) -> None:
    """GCS then has all bytes of an upload that is not complete, and a question may complete it."""
    stage.put(noise(8 * MIB + 256 * KIB))
    corrupt_and_cut = ServerFault(operation="upload.final", corrupt=True, cut_after=256 * KIB)
    stage.clouds.server.add_fault(corrupt_and_cut)
    event = stage.event()
    first = stage.invoke(event)
    stage.settle()
    assert stage.look() is None
    assert (first.failure, first.is_retryable) == ("integrity", True)
    assert stage.open_sessions() == []
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


def test_gcs_holds_no_last_byte_before_the_source_s_checksum_agreed(stage: Stage) -> None:
    """The mismatch is found with the last byte from S3: no request could have completed it."""
    event = CREATE_LARGE.prepare(stage)
    stage.spoil(Fault("s3.get", MID_BODY, flip=True))
    assert stage.invoke(event).failure == "integrity"
    assert stage.steps == ["gcs.get", "s3.get", "gcs.start", "gcs.put", "gcs.cancel"]
    (sent,) = [seen.sent for seen in stage.seen if seen.step == "gcs.put"]
    assert stage.current
    assert 0 < sent < stage.current[1]


IN_PARTS = (bytes(6 * MIB), b"and a tail")
CUT_OTHERWISE = (noise(5 * MIB), noise(MIB + len(b"and a tail")))


def test_an_upload_in_parts_is_checked_part_by_part(stage: Stage) -> None:
    stage.put_in_parts(*IN_PARTS)
    run = stage.invoke(stage.event())
    assert run.told["verified_by"]["source"].endswith(" of 2 parts"), run
    stage.assert_equal()


def test_parts_of_a_later_version_are_not_taken_for_those_of_the_one_that_is_read(
    stage: Stage,
) -> None:
    stage.put_in_parts(*IN_PARTS)
    event = stage.event()
    stage.spoil(Fault("s3.part", ARRIVAL, lambda _: stage.put_in_parts(*CUT_OTHERWISE)))
    run = stage.invoke(event)
    assert run.failure == "", run.text
    assert run.told["verified_by"]["source"].endswith(" of 2 parts"), run
    stage.assert_equal()


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_flipped_bit_is_not_excused_by_parts_that_nobody_tells_of(
    stage: Stage, status: int
) -> None:
    def refuse(_: Exchange) -> None:
        raise AnswerError(answer(status))

    stage.put_in_parts(*IN_PARTS)
    event = stage.event()
    stage.spoil(Fault("s3.get", MID_BODY, flip=True))
    fault = stage.spoil(Fault("s3.part", ARRIVAL, refuse, skip=1, times=100))
    first = stage.invoke(event)
    stage.settle()
    assert fault.struck
    assert (first.failure, first.is_retryable) == ("source_unavailable", True)
    assert stage.look() is None
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


@pytest.mark.parametrize("length", ["", "many"])
def test_a_part_whose_size_makes_no_sense_is_a_failure_of_s3(stage: Stage, length: str) -> None:
    def answer_nonsense(_: Exchange) -> None:
        raise AnswerError(answer(206, {"x-amz-mp-parts-count": "2", "Content-Length": length}))

    stage.put_in_parts(*IN_PARTS)
    event = stage.event()
    fault = stage.spoil(Fault("s3.part", ARRIVAL, answer_nonsense, times=100))
    assert stage.invoke(event).failure == "source_unavailable"
    stage.settle()
    assert fault.struck
    assert stage.look() is None
    assert stage.invoke(event).failure == ""
    stage.assert_equal()
