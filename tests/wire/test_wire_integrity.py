"""Corrupted bytes are never visible, and the next delivery succeeds."""

from dataclasses import replace

import pytest
from contract.gcs_http import noise
from wire.cases import (
    BEFORE,
    BEFORE_REQUEST,
    CREATE_LARGE,
    CREATE_SMALL,
    INSIDE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    Case,
    Scenario,
    Step,
    nothing,
    run_case,
)
from wire.harness import KIB, MIB, Harness
from wire.proxy import (
    CannedResponseError,
    CutError,
    Exchange,
    ExchangeAction,
    Fault,
    Phase,
    Place,
    response,
)

from tools.local.gcs import Fault as ServerFault

INTEGRITY = frozenset({"integrity"})
MID_BODY = Place(Phase.RESPONSE_BODY, INSIDE)


def flips() -> list[Case]:
    """Return cases that flip one bit wherever bytes of the object are transferred."""
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
def test_flipped_bit_is_never_visible_and_the_next_delivery_succeeds(
    harness: Harness, case: Case
) -> None:
    run_case(harness, case)


def cut(_: Exchange) -> None:
    raise CutError


def full_object(_: Exchange) -> None:
    raise CannedResponseError(response(200, {"ETag": '"any"'}, b"from the very beginning"))


def empty_body(_: Exchange) -> None:
    raise CannedResponseError(response(206))


def other_range(exchange: Exchange) -> None:
    """Respond with as many bytes as requested, but from another range."""
    del exchange
    raise CannedResponseError(
        response(206, {"Content-Range": "bytes 0-22/23"}, b"from the very beginning")
    )


@pytest.mark.parametrize("scenario", [CREATE_SMALL, CREATE_LARGE], ids=str)
@pytest.mark.parametrize("rest", [full_object, empty_body, other_range])
def test_run_fails_when_the_resumed_response_is_not_the_requested_range(
    harness: Harness, scenario: Scenario, rest: ExchangeAction
) -> None:
    event = scenario.prepare(harness)
    harness.inject(Fault("s3.get", MID_BODY, cut))
    fault = harness.inject(Fault("s3.resume", BEFORE_REQUEST, rest, times=100))
    first = harness.invoke(event)
    harness.stop_faults()
    assert fault.triggered
    assert (first.error_code, first.is_retryable) == ("source_unavailable", True)
    assert harness.observe() is None
    assert harness.open_sessions() == []
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (
            Place(Phase.RESPONSE_HEAD, INSIDE),
            cut,
        ),  # it looks complete, but some headers are missing
        (BEFORE_REQUEST, full_object),
        (BEFORE_REQUEST, empty_body),
        (BEFORE_REQUEST, other_range),
    ],
)
def test_range_is_requested_again_after_a_wrong_response(
    harness: Harness, place: Place, wrong: ExchangeAction
) -> None:
    event = CREATE_LARGE.prepare(harness)
    harness.inject(Fault("s3.get", MID_BODY, cut))
    fault = harness.inject(Fault("s3.resume", place, wrong))
    assert harness.invoke(event).error_code == ""
    assert fault.triggered == 1
    harness.assert_equal()


@pytest.mark.parametrize("scenario", [CREATE_SMALL, CREATE_LARGE], ids=str)
def test_flipped_bit_in_a_resumed_body_is_detected(harness: Harness, scenario: Scenario) -> None:
    harness.inject(Fault("s3.get", MID_BODY, cut))
    rest = Case(scenario, Step("s3.resume"), MID_BODY, "flip", nothing, flip=True, codes=INTEGRITY)
    run_case(harness, rest)


def test_corrupt_tail_is_never_visible_when_the_connection_breaks(
    harness: Harness,
) -> None:
    """GCS then has all bytes of an incomplete upload, and a status query could complete it."""
    harness.put(noise(8 * MIB + 256 * KIB))
    corrupt_and_cut = ServerFault(operation="upload.final", corrupt=True, cut_after=256 * KIB)
    harness.clouds.server.add_fault(corrupt_and_cut)
    event = harness.event()
    first = harness.invoke(event)
    harness.stop_faults()
    assert harness.observe() is None
    assert (first.error_code, first.is_retryable) == ("integrity", True)
    assert harness.open_sessions() == []
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


def test_last_byte_is_not_sent_before_the_source_checksum_matches(harness: Harness) -> None:
    """The mismatch is found with the last byte from S3, before the last request to GCS."""
    event = CREATE_LARGE.prepare(harness)
    harness.inject(Fault("s3.get", MID_BODY, flip=True))
    assert harness.invoke(event).error_code == "integrity"
    assert harness.steps == ["gcs.get", "s3.get", "gcs.start", "gcs.put", "gcs.cancel"]
    (sent,) = [request.sent for request in harness.requests if request.step == "gcs.put"]
    assert harness.current
    assert 0 < sent < harness.current[1]


PARTS = (bytes(6 * MIB), b"and a tail")
OTHER_PARTS = (noise(5 * MIB), noise(MIB + len(b"and a tail")))


def test_multipart_object_is_verified_part_by_part(harness: Harness) -> None:
    harness.put_multipart(*PARTS)
    run = harness.invoke(harness.event())
    assert run.result["verified_by"]["source"].endswith(" of 2 parts"), run
    harness.assert_equal()


def test_part_layout_of_a_later_version_is_not_used(
    harness: Harness,
) -> None:
    harness.put_multipart(*PARTS)
    event = harness.event()
    harness.inject(Fault("s3.part", BEFORE_REQUEST, lambda _: harness.put_multipart(*OTHER_PARTS)))
    run = harness.invoke(event)
    assert run.error_code == "", run.message
    assert run.result["verified_by"]["source"].endswith(" of 2 parts"), run
    harness.assert_equal()


@pytest.mark.parametrize("status", [400, 403, 404])
def test_flipped_bit_is_not_accepted_when_the_part_layout_is_unavailable(
    harness: Harness, status: int
) -> None:
    def refuse(_: Exchange) -> None:
        raise CannedResponseError(response(status))

    harness.put_multipart(*PARTS)
    event = harness.event()
    harness.inject(Fault("s3.get", MID_BODY, flip=True))
    fault = harness.inject(Fault("s3.part", BEFORE_REQUEST, refuse, skip=1, times=100))
    first = harness.invoke(event)
    harness.stop_faults()
    assert fault.triggered
    assert (first.error_code, first.is_retryable) == ("source_unavailable", True)
    assert harness.observe() is None
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


@pytest.mark.parametrize("length", ["", "many"])
def test_source_is_unavailable_when_a_part_size_is_malformed(harness: Harness, length: str) -> None:
    def respond_malformed(_: Exchange) -> None:
        raise CannedResponseError(
            response(206, {"x-amz-mp-parts-count": "2", "Content-Length": length})
        )

    harness.put_multipart(*PARTS)
    event = harness.event()
    fault = harness.inject(Fault("s3.part", BEFORE_REQUEST, respond_malformed, times=100))
    assert harness.invoke(event).error_code == "source_unavailable"
    harness.stop_faults()
    assert fault.triggered
    assert harness.observe() is None
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()
