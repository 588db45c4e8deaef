"""Compressed uploads: `Content-Encoding: gzip` on the request, and stored as if it were not there.

What is strict here (one member, its trailer, its length) is not documented for the real service.
"""

import gzip
import zlib

import pytest
from contract.gcs_http import STEP, Gcs, Reply, crc32c, noise

DATA = noise(STEP) + b"compressible " * 60_000
GZIP = {"Content-Encoding": "gzip"}
WHOLE = gzip.compress(DATA)


def put(gcs: Gcs, session: str, first: int, end: int, more: dict[str, str] | None = None) -> Reply:
    """Send a range of the data as one member."""
    span = f"{first}-{end - 1}/{len(DATA)}"
    return gcs.put(session, gzip.compress(DATA[first:end]), span, {**GZIP, **(more or {})})


def test_chunks_are_members_and_count_in_bytes_of_the_object(gcs: Gcs, name: str) -> None:
    session = gcs.start(name, headers={"X-Upload-Content-Length": str(len(DATA))})

    first, plain = (
        put(gcs, session, 0, STEP),
        gcs.put(session, DATA[STEP : 2 * STEP], f"{STEP}-{2 * STEP - 1}/{len(DATA)}"),
    )
    assert [reply.persisted for reply in (first, plain, gcs.status(session))] == [
        STEP,
        2 * STEP,
        2 * STEP,
    ]
    last = put(gcs, session, 2 * STEP, len(DATA), {"X-Goog-Hash": f"crc32c={crc32c(DATA)}"})

    assert (last.status, last.json["crc32c"], last.json["size"]) == (
        200,
        crc32c(DATA),
        str(len(DATA)),
    )
    assert "contentEncoding" not in last.json
    assert gcs.download(name).body == DATA


def test_a_chunk_that_is_sent_again_counts_once(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    put(gcs, session, 0, 2 * STEP)

    assert put(gcs, session, STEP, 2 * STEP).persisted == 2 * STEP
    assert put(gcs, session, 0, len(DATA)).json["crc32c"] == crc32c(DATA)


def test_a_chunk_that_leaves_a_gap_is_refused_and_harms_nothing(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    put(gcs, session, 0, STEP)

    assert put(gcs, session, 2 * STEP, len(DATA)).status == 503
    assert gcs.status(session).persisted == STEP
    assert put(gcs, session, STEP, len(DATA)).json["crc32c"] == crc32c(DATA)


def test_the_object_keeps_its_own_encoding(gcs: Gcs, name: str) -> None:
    session = gcs.start(name, resource={"contentEncoding": "br"})

    assert put(gcs, session, 0, len(DATA)).json["contentEncoding"] == "br"


def flipped(at: int) -> bytes:
    return WHOLE[:at] + bytes([WHOLE[at] ^ 1]) + WHOLE[at + 1 :]


EVERYTHING = f"0-{len(DATA) - 1}/{len(DATA)}"


@pytest.mark.parametrize(
    ("body", "span"),
    [
        pytest.param(WHOLE[:-1], EVERYTHING, id="truncated trailer"),
        pytest.param(WHOLE[: len(WHOLE) // 2], EVERYTHING, id="truncated data"),
        pytest.param(b"", EVERYTHING, id="no member"),
        pytest.param(flipped(-8), EVERYTHING, id="wrong CRC32"),
        pytest.param(flipped(-1), EVERYTHING, id="wrong size in the trailer"),
        pytest.param(flipped(1000), EVERYTHING, id="a bit of a literal"),
        pytest.param(WHOLE + b"\0", EVERYTHING, id="a byte after the member"),
        pytest.param(gzip.compress(DATA[:STEP]) + gzip.compress(DATA[STEP:]), EVERYTHING, id="two"),
        pytest.param(zlib.compress(DATA), EVERYTHING, id="zlib"),
        pytest.param(DATA, EVERYTHING, id="plain"),
        pytest.param(gzip.compress(DATA[:-1]), EVERYTHING, id="a byte too few"),
        pytest.param(gzip.compress(DATA + b"x"), EVERYTHING, id="a byte too many"),
        pytest.param(WHOLE, f"0-*/{len(DATA)}", id="open end"),
        pytest.param(WHOLE, "0-*/*", id="open end and size"),
        pytest.param(WHOLE, None, id="no range"),
        pytest.param([WHOLE], EVERYTHING, id="HTTP chunks"),
    ],
)
def test_a_damaged_chunk_is_refused_and_nothing_of_it_is_kept(
    gcs: Gcs, name: str, body: bytes, span: str | None
) -> None:
    session = gcs.start(name)

    assert gcs.put(session, body, span, GZIP).status == 400
    assert gcs.status(session).persisted == 0
    assert put(gcs, session, 0, len(DATA)).json["crc32c"] == crc32c(DATA)


def test_a_wrong_checksum_of_the_bytes_is_refused(gcs: Gcs, name: str) -> None:
    reply = put(gcs, gcs.start(name), 0, len(DATA), {"X-Goog-Hash": f"crc32c={crc32c(WHOLE)}"})

    assert reply.status == 400
    assert gcs.get(name).status == 404


@pytest.mark.parametrize("damage", [0, 1, 8], ids=["whole", "truncated", "without a trailer"])
@pytest.mark.parametrize("way", ["media", "multipart"])
def test_a_request_can_be_gzip_as_a_whole(gcs: Gcs, name: str, way: str, damage: int) -> None:
    sent = {"media": DATA, "multipart": b"--x\r\n\r\n{}\r\n--x\r\n\r\n" + DATA + b"\r\n--x--"}

    reply = gcs.request(
        "POST",
        gcs.uploads,
        query={"uploadType": way, "name": name},
        headers={**GZIP, "Content-Type": "multipart/related; boundary=x"},
        body=gzip.compress(sent[way])[: -damage or None],
    )

    assert reply.status == (400 if damage else 200)
    assert gcs.get(name).status == (404 if damage else 200)
    assert damage or gcs.download(name).body == DATA
