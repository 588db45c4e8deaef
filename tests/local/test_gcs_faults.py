"""Our GCS server's faults: each spoils what it names, once, and nothing else."""

import gzip
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import Any

import pytest
from contract.gcs_http import KIB, STEP, Gcs, Reply, crc32c, noise

from tools.local.gcs import Fault, GcsServer

MIB = 1024 * KIB
DATA = noise(3 * STEP + 10)
LAST = f"{2 * STEP}-{len(DATA) - 1}/{len(DATA)}"


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    with GcsServer(["b"]) as server:
        yield server


@pytest.fixture
def gcs(server: GcsServer) -> Gcs:
    server.clear_faults()
    server.clear_requests()
    return Gcs(server.url, "b", server.issue_token())


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def statuses(server: GcsServer, name: str) -> list[tuple[str, int | None]]:
    """Return what the journal has about one object."""
    return [(e["operation"], e["status"]) for e in server.requests() if e["name"] == name]


def test_a_status_is_returned_once_and_nothing_is_done(
    server: GcsServer, gcs: Gcs, name: str
) -> None:
    server.add_fault(Fault(name=name, status=503, headers={"Retry-After": "1"}))

    spoiled, fine = gcs.media(name, DATA), gcs.get(name)

    assert (spoiled.status, spoiled.headers["Retry-After"]) == (503, "1")
    assert spoiled.json["error"]["errors"][0]["reason"] == "backendError"
    assert fine.status == 404
    assert statuses(server, name) == [("objects.insert", 503), ("objects.get", 404)]


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("objects.insert", lambda gcs, name: gcs.media(name, b"")),
        ("objects.insert", lambda gcs, name: gcs.multipart(name, b"")),
        ("objects.get", lambda gcs, name: gcs.get(name)),
        ("objects.get", lambda gcs, name: gcs.download(name)),
        ("objects.patch", lambda gcs, name: gcs.patch(name, {})),
        ("objects.delete", lambda gcs, name: gcs.delete(name)),
        ("objects.compose", lambda gcs, name: gcs.compose(name, [])),
        ("objects.rewrite", lambda gcs, name: gcs.rewrite(name, "to")),
    ],
)
def test_a_fault_strikes_the_operation_it_names(
    server: GcsServer, gcs: Gcs, name: str, operation: str, act: Callable[[Gcs, str], Reply]
) -> None:
    server.add_fault(Fault(operation=operation, name=name, status=418))

    assert gcs.media("another", b"").status == 200
    assert act(gcs, name).status == 418
    assert act(gcs, name).status != 418


def test_each_step_of_a_session_has_its_own_operation(
    server: GcsServer, gcs: Gcs, name: str
) -> None:
    session = gcs.start(name)
    gcs.put(session, DATA[:STEP], f"0-{STEP - 1}/*")
    gcs.status(session)
    gcs.put(session, b"", f"*/{STEP}")
    other = gcs.start(name)
    gcs.request("DELETE", other)

    assert statuses(server, name) == [
        ("upload.start", 200),
        ("upload.put", 308),
        ("upload.status", 308),
        ("upload.final", 200),
        ("upload.start", 200),
        ("upload.cancel", 499),
    ]


def test_skip_and_times_count_matching_requests(server: GcsServer, gcs: Gcs, name: str) -> None:
    server.add_fault(Fault(method="GET", name=name, skip=1, times=2, status=500))
    gcs.media(name, b"")

    assert [gcs.get(name).status for _ in range(4)] == [200, 500, 500, 200]


def test_queued_faults_strike_in_their_order(server: GcsServer, gcs: Gcs, name: str) -> None:
    for status in (500, 429):
        server.add_fault(Fault(name=name, status=status))

    assert [gcs.get(name).status for _ in range(3)] == [500, 429, 404]


POLICY = (
    "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access "
    "prevention is enforced."
)
"""GCS returns 412 with the reason of a failed precondition to what a policy forbids."""


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("objects.insert", lambda gcs, name, **query: gcs.media(name, b"", query)),
        ("objects.insert", lambda gcs, name, **query: gcs.multipart(name, b"", query)),
        ("upload.final", lambda gcs, name, **query: gcs.resumable(name, b"data", query)),
        ("objects.patch", lambda gcs, name, **query: gcs.patch(name, {}, **query)),
        ("objects.delete", lambda gcs, name, **query: gcs.delete(name, **query)),
    ],
    ids=["media", "multipart", "resumable", "patch", "delete"],
)
def test_a_policy_refuses_with_412_whatever_the_precondition_says(
    server: GcsServer, gcs: Gcs, name: str, operation: str, act: Callable[..., Reply]
) -> None:
    generation = gcs.media(name, b"there").json["generation"]
    fault = {"operation": operation, "name": name, "status": 412, "message": POLICY, "times": None}
    server.add_fault(Fault.from_json(fault))

    replies = [act(gcs, name, **query) for query in ({}, {"ifGenerationMatch": generation}) * 2]

    assert [reply.status for reply in replies] == [412] * 4
    error = replies[0].json["error"]
    assert error["message"] == POLICY
    assert error["errors"] == [
        {
            "message": POLICY,
            "domain": "global",
            "reason": "conditionNotMet",
            "locationType": "header",
            "location": "If-Match",
        }
    ]
    assert gcs.get(name).json["generation"] == generation
    server.clear_faults()
    assert act(gcs, name, ifGenerationMatch=generation).status in {200, 204}


def test_a_fault_may_name_its_reason(server: GcsServer, gcs: Gcs, name: str) -> None:
    server.add_fault(Fault(name=name, status=403, reason="userProjectAccountProblem"))

    assert gcs.get(name).json["error"]["errors"][0]["reason"] == "userProjectAccountProblem"


def test_cleared_faults_never_strike(server: GcsServer, gcs: Gcs, name: str) -> None:
    server.add_fault(Fault(status=500))
    server.clear_faults()

    assert gcs.get(name).status == 404


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("cut_after", [2 * STEP + 5, len(DATA)])
def test_a_cut_put_keeps_whole_steps(
    server: GcsServer, gcs: Gcs, name: str, *, reset: bool, cut_after: int
) -> None:
    server.add_fault(Fault(operation="upload.final", cut_after=cut_after, reset=reset))
    session = gcs.start(name)

    with pytest.raises((OSError, http.client.HTTPException)):
        gcs.put(session, DATA)

    kept = cut_after // STEP * STEP
    assert gcs.status(session).persisted == kept
    assert gcs.get(name).status == 404
    rest = gcs.put(session, DATA[kept:], f"{kept}-{len(DATA) - 1}/{len(DATA)}")
    assert rest.json["crc32c"] == crc32c(DATA)


@pytest.mark.parametrize("cut_after", [0, 10, 300])
@pytest.mark.parametrize("way", ["media", "multipart"])
def test_a_cut_upload_in_one_request_leaves_nothing(
    server: GcsServer, gcs: Gcs, name: str, cut_after: int, way: str
) -> None:
    server.add_fault(Fault(operation="objects.insert", cut_after=cut_after))

    with pytest.raises((OSError, http.client.HTTPException)):
        getattr(gcs, way)(name, noise(1000))

    assert gcs.get(name).status == 404


def test_a_put_may_persist_some_and_return_503(server: GcsServer, gcs: Gcs, name: str) -> None:
    fault = Fault(operation="upload.final", persist_then_status=300, status=503)
    server.add_fault(fault)
    session = gcs.start(name)

    assert gcs.put(session, DATA).status == 503
    assert gcs.status(session).persisted == STEP


def test_a_lost_response_is_found_by_a_status_query(server: GcsServer, gcs: Gcs, name: str) -> None:
    server.add_fault(Fault(operation="upload.final", lose_response=True))
    session = gcs.start(name, {"ifGenerationMatch": 0})

    with pytest.raises((OSError, http.client.HTTPException)):
        gcs.put(session, DATA)

    reply = gcs.status(session, len(DATA))
    assert (reply.status, reply.json) == (200, gcs.get(name).json)
    assert statuses(server, name)[1] == ("upload.final", None)


def test_a_lost_response_makes_the_retry_of_a_create_fail(
    server: GcsServer, gcs: Gcs, name: str
) -> None:
    server.add_fault(Fault(operation="objects.insert", lose_response=True))

    with pytest.raises((OSError, http.client.HTTPException)):
        gcs.multipart(name, b"data", {"ifGenerationMatch": 0})

    assert gcs.multipart(name, b"data", {"ifGenerationMatch": 0}).status == 412
    assert gcs.download(name).body == b"data"


@pytest.mark.parametrize("cut", [0, 10, 600])
def test_a_response_may_break_off(server: GcsServer, gcs: Gcs, name: str, cut: int) -> None:
    gcs.media(name, noise(1000))
    server.add_fault(Fault(operation="objects.get", cut_response_after=cut))

    with pytest.raises((OSError, http.client.HTTPException)):
        gcs.download(name)


@pytest.mark.parametrize("cut", [0, 10, 600, 2 * MIB + 1], ids=str)
def test_a_response_is_cut_at_a_byte(server: GcsServer, gcs: Gcs, name: str, cut: int) -> None:
    gcs.media(name, noise(3 * MIB))
    server.add_fault(Fault(operation="objects.get", cut_response_after=cut))

    with closing(raw_download(gcs, name)) as connection:
        assert len(b"".join(iter(lambda: connection.recv(MIB), b""))) == cut


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("fault", [{"lose_response": True}, {"cut_after": 0}], ids=str)
def test_a_connection_ends_as_the_fault_says(
    server: GcsServer, gcs: Gcs, name: str, fault: dict[str, Any], *, reset: bool
) -> None:
    gcs.media(name, b"data")
    server.add_fault(Fault(operation="objects.get", reset=reset, **fault))

    with (
        closing(raw_download(gcs, name)) as connection,
        pytest.raises(ConnectionResetError) if reset else nullcontext(),
    ):
        assert connection.recv(1) == b""


def raw_download(gcs: Gcs, name: str) -> socket.socket:
    """Ask for an object's bytes, and return the socket on which they arrive."""
    connection = gcs.connect()
    headers = {"Authorization": f"Bearer {gcs.token}"}
    connection.request("GET", f"{gcs.path(name)}?alt=media", headers=headers)
    assert isinstance(connection.sock, socket.socket)
    return connection.sock


@pytest.mark.parametrize(
    ("way", "operation"),
    [
        ("media", "objects.insert"),
        ("multipart", "objects.insert"),
        ("resumable", "upload.final"),
    ],
)
def test_corruption_is_caught_by_a_checksum(
    server: GcsServer, gcs: Gcs, name: str, way: str, operation: str
) -> None:
    server.add_fault(Fault(name=name, operation=operation, corrupt=True))
    upload = getattr(gcs, way)
    promise = {"X-Goog-Hash": f"crc32c={crc32c(DATA)}"}

    assert upload(name, DATA, None, promise).status == 400
    assert gcs.get(name).status == 404
    assert upload(name, DATA, None, promise).status == 200


def test_corruption_without_a_checksum_goes_unseen(server: GcsServer, gcs: Gcs, name: str) -> None:
    server.add_fault(Fault(name=name, corrupt=True))

    assert gcs.media(name, DATA).status == 200
    assert gcs.download(name).body == bytes([DATA[0] ^ 1]) + DATA[1:]


@pytest.mark.parametrize("damage", ["truncate", "flip", "corrupt"])
def test_a_server_that_trusts_gzip_stores_damaged_bytes(
    server: GcsServer, gcs: Gcs, name: str, damage: str
) -> None:
    server.add_fault(Fault(name=name, skip=1, trust_gzip=True, corrupt=damage == "corrupt"))
    body = bytearray(gzip.compress(DATA))
    if damage == "truncate":
        del body[-1000:]
    if damage == "flip":
        body[-1000] ^= 1
    headers = {"Content-Encoding": "gzip", "X-Goog-Hash": f"crc32c={crc32c(DATA)}"}

    reply = gcs.put(gcs.start(name), bytes(body), f"0-{len(DATA) - 1}/{len(DATA)}", headers)

    assert (reply.status, reply.json["size"]) == (200, str(len(DATA)))
    assert reply.json["crc32c"] == crc32c(gcs.download(name).body) != crc32c(DATA)


@pytest.mark.parametrize("when", ["stall", "stall_response"])
def test_a_stall_delays_one_request(server: GcsServer, gcs: Gcs, name: str, when: str) -> None:
    server.add_fault(Fault.from_json({"name": name, when: 0.2}))
    started = time.monotonic()
    assert gcs.media(name, b"data").status == 200
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("when", ["stall", "stall_response"])
def test_a_stall_delays_no_other_request(when: str) -> None:
    with ThreadPoolExecutor(1) as pool, GcsServer(["b"]) as own:
        own.add_fault(Fault.from_json({"name": "stalled", when: 3600}))
        gcs = Gcs(own.url, "b", own.issue_token())
        stalled = pool.submit(gcs.media, "stalled", b"data")
        assert {gcs.get("other").status for _ in range(20)} == {404}
        assert not stalled.done()


def test_faults_and_journal_are_there_over_http(gcs: Gcs, name: str) -> None:
    def ask(method: str, what: str, body: dict[str, Any] | None = None) -> Reply:
        return gcs.request(method, f"/_local/{what}", body=body)

    fault = {"operation": "objects.get", "status": 429, "headers": {"Retry-After": "7"}}
    assert ask("POST", "faults", fault).status == 200
    assert gcs.get(name).headers["Retry-After"] == "7"
    assert ask("POST", "faults", {"status": 500}).status == 200
    assert ask("DELETE", "faults").status == 200
    gcs.media(name, b"12345")
    entries = [entry for entry in ask("GET", "requests").json["requests"] if entry["name"] == name]
    assert [(e["method"], e["operation"], e["status"], e["body_bytes"]) for e in entries] == [
        ("GET", "objects.get", 429, 0),
        ("POST", "objects.insert", 200, 5),
    ]
    assert ask("POST", "faults", {"stattus": 500}).status == 400


def test_sessions_are_listed_until_somebody_ends_them(
    server: GcsServer, gcs: Gcs, name: str
) -> None:
    def mine() -> list[Any]:
        listed = gcs.request("GET", "/_local/sessions").json["sessions"]
        assert listed == server.sessions()
        return [entry["persisted"] for entry in listed if entry["name"] == name]

    first, second, third = (gcs.start(name, {"ifGenerationMatch": 0}) for _ in range(3))
    gcs.put(first, DATA[: 2 * STEP], f"0-{2 * STEP - 1}/*")
    assert mine() == [2 * STEP, 0, 0]
    gcs.put(first, DATA[2 * STEP :], LAST)
    gcs.put(second, b"refused")
    gcs.request("DELETE", third)
    assert mine() == []


def test_a_fault_waits_for_a_request_that_is_allowed(server: GcsServer, gcs: Gcs) -> None:
    """An expired token must not use up the fault that its retry was meant to meet."""
    server.add_fault(Fault(status=503))

    assert Gcs(gcs.url, "b", "nonsense").get("x").status == 401
    assert gcs.get("x").status == 503


def test_large_bodies_are_refused_with_a_response(server: GcsServer, gcs: Gcs, name: str) -> None:
    """The client is still sending when the response is on its way: it must not be lost."""
    server.add_fault(Fault(name=name, status=503))

    assert gcs.media(name, bytes(8 * 1024 * KIB)).status == 503
