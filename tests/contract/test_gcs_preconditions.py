"""Preconditions: nobody's object is overwritten, patched or deleted by mistake."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from contract.gcs_http import STEP, Gcs, Upload, noise

MUST_NOT_EXIST = {"ifGenerationMatch": 0}


def test_create_if_absent_creates_once(gcs: Gcs, upload: Upload, name: str) -> None:
    assert upload(name, b"first", MUST_NOT_EXIST).status == 200

    reply = upload(name, b"second", MUST_NOT_EXIST)

    assert reply.status == 412
    assert gcs.download(name).body == b"first"


def test_a_failed_precondition_is_described_as_gcs_does(gcs: Gcs, name: str) -> None:
    gcs.media(name, b"there")

    reply = gcs.media(name, b"", MUST_NOT_EXIST)

    message = "At least one of the pre-conditions you specified did not hold."
    detail = {
        "message": message,
        "domain": "global",
        "reason": "conditionNotMet",
        "locationType": "header",
        "location": "If-Match",
    }
    assert reply.json == {"error": {"code": 412, "message": message, "errors": [detail]}}


def test_sixteen_parallel_creators_have_one_winner(gcs: Gcs, upload: Upload, name: str) -> None:
    bodies = [str(number).encode() for number in range(16)]

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda body: upload(name, body, MUST_NOT_EXIST), bodies))

    won = [body for body, reply in zip(bodies, replies, strict=True) if reply.status == 200]
    assert sorted(reply.status for reply in replies) == [200] + [412] * 15
    assert [gcs.download(name).body] == won


def test_an_overwrite_names_the_generation_it_replaces(gcs: Gcs, upload: Upload, name: str) -> None:
    old = upload(name, b"one").json["generation"]
    new = upload(name, b"two", {"ifGenerationMatch": old}).json["generation"]

    assert upload(name, b"three", {"ifGenerationMatch": old}).status == 412
    assert gcs.get(name).json["generation"] == new


def test_a_named_generation_of_an_absent_object_does_not_match(
    gcs: Gcs, upload: Upload, name: str
) -> None:
    assert upload(name, b"", {"ifGenerationMatch": 17}).status == 412
    assert upload(name, b"", {"ifMetagenerationMatch": 1}).status == 412
    assert gcs.get(name).status == 404


def test_a_metadata_patch_is_seen_by_the_metageneration_only(
    gcs: Gcs, upload: Upload, name: str
) -> None:
    generation = upload(name, b"one").json["generation"]
    gcs.patch(name, {"metadata": {"changed": "yes"}})
    both = {"ifGenerationMatch": generation, "ifMetagenerationMatch": 1}

    assert upload(name, b"two", both).status == 412
    assert upload(name, b"two", {**both, "ifMetagenerationMatch": 2}).status == 200


def test_not_match_lets_only_a_change_through(upload: Upload, name: str) -> None:
    assert upload(name, b"", {"ifGenerationNotMatch": 0}).status == 304
    generation = upload(name, b"one").json["generation"]

    assert upload(name, b"two", {"ifGenerationNotMatch": generation}).status == 304
    assert upload(name, b"two", {"ifMetagenerationNotMatch": 1}).status == 304
    assert upload(name, b"two", {"ifGenerationNotMatch": 17}).status == 200


def test_a_session_checks_its_precondition_at_the_end(gcs: Gcs, name: str) -> None:
    session = gcs.start(name, MUST_NOT_EXIST)
    gcs.put(session, noise(STEP), f"0-{STEP - 1}/*")
    gcs.media(name, b"somebody else was faster")

    assert gcs.put(session, b"end", f"{STEP}-{STEP + 2}/{STEP + 3}").status == 412
    assert gcs.download(name).body == b"somebody else was faster"


def test_a_refused_session_never_turns_into_success(gcs: Gcs, name: str) -> None:
    gcs.media(name, b"there")
    session = gcs.start(name, MUST_NOT_EXIST)
    assert gcs.put(session, b"data").status == 412
    gcs.delete(name)

    assert gcs.status(session).status >= 400
    assert gcs.put(session, b"data").status >= 400
    assert gcs.get(name).status == 404


def test_a_started_session_changes_nothing_yet(gcs: Gcs, name: str) -> None:
    generation = gcs.media(name, b"one").json["generation"]
    session = gcs.start(name)
    gcs.put(session, noise(STEP), f"0-{STEP - 1}/*")

    assert gcs.get(name).json["generation"] == generation


@pytest.mark.parametrize("alt", ["json", "media"])
def test_reads_take_preconditions(gcs: Gcs, name: str, alt: str) -> None:
    generation = gcs.media(name, b"one").json["generation"]

    def read(**query: object) -> int:
        return gcs.get(name, alt=alt, **query).status

    assert read(ifGenerationMatch=generation) == 200
    assert read(ifGenerationMatch=0) == 412
    assert read(ifGenerationNotMatch=generation) == 304
    assert read(ifMetagenerationMatch=2) == 412
    assert read(ifMetagenerationNotMatch=1) == 304
    assert read(generation=generation) == 200
    assert read(generation=1) == 404


def test_a_delete_takes_preconditions(gcs: Gcs, name: str) -> None:
    generation = gcs.media(name, b"one").json["generation"]

    assert gcs.delete(name, ifGenerationMatch=int(generation) + 1).status == 412
    assert gcs.delete(name, ifMetagenerationMatch=2).status == 412
    assert gcs.delete(name, generation=int(generation) + 1).status == 404
    assert gcs.get(name).status == 200
    deleted = gcs.delete(name, ifGenerationMatch=generation, ifMetagenerationMatch=1)
    assert (deleted.status, deleted.body) == (204, b"")
    assert gcs.delete(name).status == 404


def test_a_patch_takes_preconditions(gcs: Gcs, name: str) -> None:
    generation = gcs.media(name, b"one").json["generation"]

    def change(**query: object) -> int:
        body = {"metadata": {"a": "b"}}
        return gcs.patch(name, body, **query).status

    assert change(ifGenerationMatch=1) == 412
    assert change(ifMetagenerationMatch=2) == 412
    assert change(generation=1) == 404
    assert "metadata" not in gcs.get(name).json
    assert change(ifGenerationMatch=generation, ifMetagenerationMatch=1) == 200
    assert change(ifMetagenerationMatch=1) == 412


def test_a_generation_deleted_and_written_again_is_another_one(gcs: Gcs, name: str) -> None:
    first = gcs.media(name, b"same").json["generation"]
    gcs.delete(name)
    second = gcs.media(name, b"same").json["generation"]

    assert int(second) > int(first)
    assert gcs.delete(name, ifGenerationMatch=first).status == 412


def test_a_precondition_that_is_no_number_is_refused(gcs: Gcs, name: str) -> None:
    assert gcs.media(name, b"", {"ifGenerationMatch": "latest"}).status == 400
    assert gcs.get(name).status == 404
