"""Checksums: what is not what was promised never becomes visible."""

import pytest
from contract.gcs_http import STEP, Gcs, Upload, crc32c, md5, noise

DATA = noise(2 * STEP + 3)
WRONG_CRC32C, WRONG_MD5 = crc32c(b"other"), md5(b"other")


@pytest.mark.parametrize(
    "promise",
    [
        f"crc32c={WRONG_CRC32C}",
        f"md5={WRONG_MD5}",
        f"crc32c={crc32c(DATA)},md5={WRONG_MD5}",
        "crc32c=not base64",
    ],
)
def test_a_wrong_hash_header_leaves_no_object(
    gcs: Gcs, upload: Upload, name: str, promise: str
) -> None:
    assert upload(name, DATA, None, {"X-Goog-Hash": promise}).status == 400
    assert gcs.get(name).status == 404


def test_a_right_hash_header_is_accepted(upload: Upload, name: str) -> None:
    promise = f"crc32c={crc32c(DATA)},md5={md5(DATA)}"

    assert upload(name, DATA, None, {"X-Goog-Hash": promise}).status == 200


@pytest.mark.parametrize(
    "resource",
    [{"crc32c": WRONG_CRC32C}, {"md5Hash": WRONG_MD5}, {"crc32c": "AAAA"}],
)
def test_a_wrong_checksum_in_the_resource_leaves_no_object(
    gcs: Gcs, name: str, resource: dict[str, str]
) -> None:
    assert gcs.multipart(name, DATA, resource=resource).status == 400
    assert gcs.get(name).status == 404


def test_a_session_remembers_the_checksum_it_was_opened_with(gcs: Gcs, name: str) -> None:
    session = gcs.start(name, resource={"crc32c": WRONG_CRC32C})
    gcs.put(session, DATA[:STEP], f"0-{STEP - 1}/*")

    assert gcs.put(session, DATA[STEP:], f"{STEP}-{len(DATA) - 1}/{len(DATA)}").status == 400
    assert gcs.get(name).status == 404


def test_right_checksums_in_the_resource_are_accepted(gcs: Gcs, name: str) -> None:
    right = {"crc32c": crc32c(DATA), "md5Hash": md5(DATA)}

    assert gcs.multipart(name, DATA, resource=right).status == 200
    assert gcs.resumable(name, DATA, resource=right).status == 200


def test_the_last_of_several_chunks_may_carry_the_checksum(gcs: Gcs, name: str) -> None:
    for promise, status in ((WRONG_CRC32C, 400), (crc32c(DATA), 200)):
        session = gcs.start(name)
        gcs.put(session, DATA[:STEP], f"0-{STEP - 1}/*")
        last = f"{STEP}-{len(DATA) - 1}/{len(DATA)}"
        reply = gcs.put(session, DATA[STEP:], last, {"X-Goog-Hash": f"crc32c={promise}"})
        assert reply.status == status
    assert gcs.download(name).body == DATA


def test_an_empty_last_request_may_carry_the_checksum(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    gcs.put(session, DATA[:STEP], f"0-{STEP - 1}/*")

    wrong = gcs.put(session, b"", f"*/{STEP}", {"X-Goog-Hash": f"crc32c={WRONG_CRC32C}"})

    assert wrong.status == 400
    assert gcs.get(name).status == 404


def test_a_session_with_a_wrong_checksum_never_turns_into_success(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    assert gcs.put(session, DATA, headers={"X-Goog-Hash": f"crc32c={WRONG_CRC32C}"}).status == 400

    assert gcs.status(session).status >= 400
    assert gcs.put(session, DATA).status >= 400
    assert gcs.get(name).status == 404


def test_the_refusal_names_both_checksums(gcs: Gcs, name: str) -> None:
    reply = gcs.multipart(name, DATA, resource={"crc32c": WRONG_CRC32C})

    assert reply.json["error"]["message"].startswith(
        f'Provided CRC32C "{WRONG_CRC32C}" doesn\'t match calculated CRC32C "{crc32c(DATA)}"'
    )


def test_a_wrong_checksum_does_not_harm_the_object_that_is_there(
    gcs: Gcs, upload: Upload, name: str
) -> None:
    upload(name, b"before")

    assert upload(name, DATA, None, {"X-Goog-Hash": f"crc32c={WRONG_CRC32C}"}).status == 400
    assert gcs.download(name).body == b"before"
