"""Resumable uploads: what is safe, what is not, and what ends a session."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from contract.gcs_http import STEP, Gcs, noise, reset

DATA = noise(3 * STEP + 10)


def test_one_put_is_the_whole_object(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)

    assert gcs.put(session, DATA).status == 200
    assert gcs.download(name).body == DATA


def test_one_put_may_say_its_range(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)

    assert gcs.put(session, DATA, f"0-{len(DATA) - 1}/{len(DATA)}").status == 200
    assert gcs.download(name).body == DATA


@pytest.mark.parametrize("content_range", [None, "0-*/*", f"0-*/{len(DATA)}"])
def test_a_put_in_http_chunks_ends_the_upload(
    gcs: Gcs, name: str, content_range: str | None
) -> None:
    session = gcs.start(name)

    reply = gcs.put(session, _pieces(DATA, 100_000), content_range)

    assert reply.status == 200
    assert gcs.download(name).body == DATA


@pytest.mark.parametrize("total", ["*", str(len(DATA))])
def test_ranges_are_acknowledged_until_the_last_one_commits(
    gcs: Gcs, name: str, total: str
) -> None:
    session = gcs.start(name)

    first = gcs.put(session, DATA[: 2 * STEP], f"0-{2 * STEP - 1}/{total}")
    assert (first.status, first.headers["Range"]) == (308, f"bytes=0-{2 * STEP - 1}")
    assert gcs.get(name).status == 404
    last = gcs.put(session, DATA[2 * STEP :], f"{2 * STEP}-{len(DATA) - 1}/{len(DATA)}")
    assert last.status == 200
    assert gcs.download(name).body == DATA


def test_an_empty_put_that_names_the_size_ends_the_upload(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    gcs.put(session, DATA[:STEP], f"0-{STEP - 1}/*")

    assert gcs.put(session, b"", f"*/{STEP}").status == 200
    assert gcs.download(name).body == DATA[:STEP]


@pytest.mark.parametrize("content_range", [None, "*/0"])
def test_an_empty_object_is_an_object(gcs: Gcs, name: str, content_range: str | None) -> None:
    reply = gcs.put(gcs.start(name), b"", content_range)

    assert (reply.status, reply.json["size"]) == (200, "0")


@pytest.mark.parametrize("total", ["*", len(DATA)])
def test_a_status_query_before_any_bytes_reports_no_range(
    gcs: Gcs, name: str, total: int | str
) -> None:
    reply = gcs.status(gcs.start(name), total)

    assert (reply.status, reply.headers["Range"]) == (308, None)
    assert gcs.get(name).status == 404


def test_a_status_query_after_the_end_returns_the_resource(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    stored = gcs.put(session, DATA).json

    for total in ("*", len(DATA)):
        reply = gcs.status(session, total)
        assert (reply.status, reply.json) == (200, stored)


@pytest.mark.parametrize("ending", ["FIN", "RST"])
@pytest.mark.parametrize("total", ["*", str(len(DATA))])
def test_a_put_that_breaks_keeps_a_prefix_of_whole_steps(
    gcs: Gcs, name: str, ending: str, total: str
) -> None:
    session = gcs.start(name)
    sent = 2 * STEP + 1000
    declared = len(DATA) if total != "*" else 3 * STEP

    connection = gcs.begin_put(session, DATA[:sent], declared, f"0-{declared - 1}/{total}")
    gcs.await_persisted(session, 2 * STEP)
    if ending == "RST":
        reset(connection)
    else:
        connection.close()
    kept = gcs.await_persisted(session, 2 * STEP).persisted

    assert 0 < kept <= sent
    assert kept % STEP == 0
    assert gcs.get(name).status == 404
    last = gcs.put(session, DATA[kept:], f"{kept}-{len(DATA) - 1}/{len(DATA)}")
    assert last.status == 200
    assert gcs.download(name).body == DATA


def test_a_put_without_a_range_that_breaks_leaves_no_object(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)

    connection = gcs.begin_put(session, DATA[: STEP + 1], len(DATA), None)
    gcs.await_persisted(session, STEP)
    connection.close()

    assert gcs.stays_missing(name)
    kept = gcs.status(session)
    assert (kept.status, kept.persisted % STEP) == (308, 0)


def test_bytes_that_were_persisted_before_are_ignored(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    gcs.put(session, DATA[: 2 * STEP], f"0-{2 * STEP - 1}/*")

    again = gcs.put(session, DATA[:STEP], f"0-{STEP - 1}/*")
    assert (again.status, again.persisted) == (308, 2 * STEP)
    assert gcs.put(session, DATA[100:], f"100-{len(DATA) - 1}/{len(DATA)}").status == 200
    assert gcs.download(name).body == DATA


def test_a_gap_is_refused_and_harms_nothing(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    gcs.put(session, DATA[:STEP], f"0-{STEP - 1}/*")

    gap = gcs.put(session, DATA[2 * STEP :], f"{2 * STEP}-{len(DATA) - 1}/{len(DATA)}")
    assert gap.status == 503
    assert gcs.status(session).persisted == STEP
    assert gcs.put(session, DATA[STEP:], f"{STEP}-{len(DATA) - 1}/{len(DATA)}").status == 200
    assert gcs.download(name).body == DATA


def test_a_range_that_promises_more_than_the_body_does_not_commit(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)

    reply = gcs.put(session, DATA[: STEP + 100], f"0-{len(DATA) - 1}/{len(DATA)}")

    assert (reply.status, reply.persisted) == (308, STEP)
    assert gcs.get(name).status == 404


def test_a_body_with_more_bytes_than_its_range_does_not_commit(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)

    assert gcs.put(session, DATA[:200], "0-99/100").status == 400
    assert gcs.put(session, _pieces(DATA[:200], 50), "0-99/100").status == 400
    assert gcs.put(session, _pieces(DATA, 1000), f"0-{STEP - 1}/*").status == 400
    assert gcs.status(session).persisted <= STEP
    assert gcs.get(name).status == 404


def test_a_chunk_that_is_no_multiple_of_256_kib_keeps_whole_steps(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)

    reply = gcs.put(session, DATA[: STEP + 1000], f"0-{STEP + 999}/*")
    assert (reply.status, reply.persisted) == (308, STEP)
    assert gcs.put(session, DATA[:1000], "0-999/*").persisted == STEP


def test_a_size_declared_at_the_start_is_binding(gcs: Gcs, name: str) -> None:
    for length, content_range in ((99, None), (101, None), (99, "0-98/99"), (99, "0-*/*")):
        session = gcs.start(name, headers={"X-Upload-Content-Length": "100"})
        assert gcs.put(session, DATA[:length], content_range).status == 400
    assert gcs.get(name).status == 404
    session = gcs.start(name, headers={"X-Upload-Content-Length": "100"})
    assert gcs.put(session, DATA[:100]).status == 200


def test_the_content_type_is_what_the_start_says(gcs: Gcs, name: str) -> None:
    session = gcs.start(name, headers={"X-Upload-Content-Type": "text/x-start"})

    reply = gcs.put(session, b"data", headers={"Content-Type": "text/x-put"})

    assert reply.json["contentType"] == "text/x-start"


@pytest.mark.parametrize("content_type", ["text/x", "text/\xfc"])
def test_the_start_may_name_the_content_type_twice(gcs: Gcs, name: str, content_type: str) -> None:
    session = gcs.start(
        name,
        headers={"X-Upload-Content-Type": content_type},
        resource={"contentType": content_type},
    )

    assert gcs.put(session, b"data").json["contentType"] == content_type


def test_a_start_with_two_different_content_types_is_refused(gcs: Gcs, name: str) -> None:
    reply = gcs.request(
        "POST",
        gcs.uploads,
        query={"uploadType": "resumable"},
        headers={"X-Upload-Content-Type": "application/octet-stream"},
        body={"name": name, "contentType": "text/x"},
    )

    assert (reply.status, reply.json["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert "Content-Type" in reply.json["error"]["message"]


def test_a_cancelled_session_is_dead(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    gcs.put(session, DATA[:STEP], f"0-{STEP - 1}/*")

    assert gcs.request("DELETE", session).status == 499
    assert gcs.status(session).status == 499
    assert gcs.put(session, DATA[STEP:], f"{STEP}-{len(DATA) - 1}/{len(DATA)}").status == 499
    assert gcs.get(name).status == 404


def test_a_session_is_reached_by_its_address_alone(gcs: Gcs, name: str) -> None:
    """A client whose credentials are revoked can still cancel its uploads."""
    session = gcs.start(name)
    anonymous = replace(gcs, token="")

    assert anonymous.status(session).status == 308
    assert replace(gcs, token="worthless").status(session).status == 401
    assert anonymous.request("DELETE", session).status == 499
    assert gcs.status(session).status == 499


def test_a_delete_without_a_session_cancels_nothing(gcs: Gcs, name: str) -> None:
    """The client library sends it there when a writer's block ends in an exception."""
    session = gcs.start(name)

    reply = gcs.request("DELETE", gcs.uploads, query={"uploadType": "resumable"})

    assert reply.status == 404
    assert gcs.status(session).status == 308


def test_cancelling_what_is_finished_removes_nothing(gcs: Gcs, name: str) -> None:
    session = gcs.start(name)
    gcs.put(session, DATA)

    gcs.request("DELETE", session)

    assert gcs.download(name).body == DATA


def test_a_session_that_never_was_is_not_found(gcs: Gcs) -> None:
    target = gcs.target(gcs.uploads, {"uploadType": "resumable", "upload_id": "no-such-session"})

    assert gcs.status(target).status == 404


def test_two_connections_cannot_mix_their_bytes(gcs: Gcs, name: str) -> None:
    """A client that gave up on a slow connection resumes on another while the first still lives."""
    session = gcs.start(name)
    slow = gcs.begin_put(session, DATA[:STEP], len(DATA), f"0-{len(DATA) - 1}/{len(DATA)}")
    assert gcs.await_persisted(session, STEP).persisted == STEP

    fast = gcs.put(session, DATA[STEP : 2 * STEP], f"{STEP}-{2 * STEP - 1}/*")
    assert fast.persisted == 2 * STEP
    slow.send(DATA[STEP:])
    response = slow.getresponse()
    response.read()
    slow.close()

    assert response.status == 200
    assert gcs.download(name).body == DATA


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
