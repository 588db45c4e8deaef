"""Our GCS server as a process and on the wire: it starts, responds, never hangs, leaves nothing."""

import gzip
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from contract.gcs_http import KIB, STEP, Gcs, crc32c, noise

from tools.local.gcs import GcsServer
from tools.local.gcs.gzip_body import inflated
from tools.local.gcs.spool import CHUNK_BYTES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer(["b"]) as server:
        yield server


@pytest.fixture
def gcs(server: GcsServer) -> Gcs:
    return Gcs(server.url, "b", server.issue_token())


def test_closing_leaves_no_thread_no_file_and_no_open_connection(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with GcsServer(["b"], data_dir=tmp_path) as server:
        gcs = Gcs(server.url, "b", server.issue_token())
        gcs.media("x", b"data")
        gcs.put(gcs.start("open"), noise(STEP), f"0-{STEP - 1}/*")
        assert any(tmp_path.rglob("*"))
        idle = gcs.connect()
        idle.connect()
        idle.request("GET", "/storage/v1/b/b")
        idle.getresponse().read()
        assert isinstance(idle.sock, socket.socket)

    assert idle.sock.recv(1) == b""
    idle.close()
    assert set(threading.enumerate()) == before
    assert list(tmp_path.iterdir()) == []


def test_data_that_nobody_can_reach_is_removed(tmp_path: Path) -> None:
    with GcsServer(["b"], data_dir=tmp_path) as server:
        gcs = Gcs(server.url, "b", server.issue_token())
        for body in (b"one", b"two"):
            gcs.media("x", body)
        gcs.media("x", b"three", headers={"X-Goog-Hash": "crc32c=AAAAAA=="})
        gcs.compose("y", [{"name": "x"}, {"name": "none"}])
        gcs.rewrite("x", "y", ifGenerationMatch=1)
        cancelled = gcs.start("x")
        gcs.put(cancelled, noise(STEP), f"0-{STEP - 1}/*")
        gcs.request("DELETE", cancelled)
        assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"two"]
        gcs.delete("x")
        assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_the_command_says_where_it_is_and_ends_on_sigterm(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tools.local.gcs",
        "--bucket",
        "b",
        "--data-dir",
        str(tmp_path),
    ]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        gcs = Gcs(json.loads(process.stdout.readline())["url"], "b", "")
        token = gcs.request("POST", "/_local/tokens").json["access_token"]
        assert Gcs(gcs.url, "b", token).media("x", b"data").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_addresses_in_responses_are_those_the_client_used(server: GcsServer, gcs: Gcs) -> None:
    query = {"uploadType": "resumable", "name": "x"}
    headers = {"Host": "gcs.internal:4443"}

    reply = gcs.request("POST", gcs.uploads, query=query, headers=headers)

    assert reply.headers["Location"].startswith("http://gcs.internal:4443/upload/")
    with GcsServer(["b"], public_url="https://public.example/") as public:
        own = f"http://127.0.0.1:{public.port}"
        gcs = Gcs(own, "b", public.issue_token())
        assert gcs.start("x").startswith("https://public.example/upload/")
        assert public.create_key()["token_uri"] == "https://public.example/token"
    assert server.url == f"http://127.0.0.1:{server.port}"


def test_one_connection_serves_many_requests(gcs: Gcs) -> None:
    with closing(gcs.connect()) as connection:
        used = set()
        for method, target, body in [
            ("GET", "/storage/v1/b/b", None),
            ("GET", "/no/such/route", None),
            ("POST", f"{gcs.uploads}?uploadType=media&name=x", b"data"),
            ("POST", f"{gcs.uploads}?uploadType=media&name=..", b"refused before it is read"),
            ("DELETE", gcs.path("x"), None),
            ("GET", gcs.path("x"), None),
        ]:
            connection.request(method, target, body, {"Authorization": f"Bearer {gcs.token}"})
            response = connection.getresponse()
            response.read()
            used.add(connection.sock)
        assert len(used) == 1
        assert None not in used


def test_many_connections_are_served_at_once(gcs: Gcs) -> None:
    stuck = [gcs.begin_put(gcs.start("x"), b"", 10, "0-9/10") for _ in range(40)]
    try:
        with ThreadPoolExecutor(20) as pool:
            replies = list(pool.map(lambda n: gcs.media(f"y{n}", b"data"), range(100)))
        assert {reply.status for reply in replies} == {200}
    finally:
        for connection in stuck:
            connection.close()


@pytest.mark.parametrize(("name", "status"), [("x", b"100"), ("..", b"400")])
def test_continue_is_said_only_where_the_body_is_wanted(
    server: GcsServer, gcs: Gcs, name: str, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(
            f"POST {gcs.uploads}?uploadType=media&name={name} HTTP/1.1\r\nHost: h\r\n"
            f"Authorization: Bearer {gcs.token}\r\nContent-Length: 4\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert raw.recv(65536).split()[1] == status
        if status == b"100":
            raw.sendall(b"data")
            assert raw.recv(65536).split()[1] == b"200"


@pytest.mark.parametrize(
    "malformed",
    [
        b"BREW /coffee HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: many\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: smoke\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
    ids=["method", "length", "coding", "long line"],
)
def test_a_malformed_request_gets_an_error(server: GcsServer, malformed: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(malformed)
        with raw.makefile("rb") as stream:
            status = int(stream.read().split()[1])
    assert status >= 400


def test_what_nobody_foresaw_is_a_500_and_a_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with GcsServer(["b"], data_dir=tmp_path) as server:
        shutil.rmtree(next(tmp_path.iterdir()))

        reply = Gcs(server.url, "b", server.issue_token()).media("x", b"data")

    assert (reply.status, reply.json["error"]["errors"][0]["reason"]) == (500, "internalError")
    assert "FileNotFoundError" in capfd.readouterr().err


def test_a_large_upload_stays_out_of_memory(tmp_path: Path) -> None:
    """256 MiB go through a process whose peak memory grows by less than an eighth of that."""
    size = 256 * 1024 * KIB
    piece = noise(1024 * KIB)
    command = [
        sys.executable,
        "-m",
        "tools.local.gcs",
        "--bucket",
        "b",
        "--data-dir",
        str(tmp_path),
    ]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        token = Gcs(url, "b", "").request("POST", "/_local/tokens").json["access_token"]
        gcs = Gcs(url, "b", token)
        gcs.media("x", b"")
        before = _peak_bytes(process.pid)
        stored = gcs.put(gcs.start("x"), (piece for _ in range(256)))
        grown = _peak_bytes(process.pid) - before
        process.terminate()
        process.wait(10)
    assert stored.json["size"] == str(size)
    assert stored.json["crc32c"] == crc32c(piece * 256)
    assert grown < size / 8


def _peak_bytes(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * KIB


def test_nothing_but_a_slow_client_slows_a_small_request_down(gcs: Gcs) -> None:
    """A response in two segments would wait 40 ms for a delayed acknowledgement."""
    with closing(gcs.connect()) as connection:
        headers = {"Authorization": f"Bearer {gcs.token}"}
        times = []
        for _ in range(20):
            started = time.monotonic()
            connection.request("GET", "/storage/v1/b/b", headers=headers)
            connection.getresponse().read()
            times.append(time.monotonic() - started)
    assert min(times) < 0.04, "a busy machine delays some of them, and the acknowledgement all"


def test_a_member_is_inflated_in_pieces_of_bounded_size() -> None:
    zeros = gzip.compress(bytes(16 * CHUNK_BYTES))

    pieces = [len(piece) for piece in inflated(iter([zeros]))]

    assert (sum(pieces), max(pieces)) == (16 * CHUNK_BYTES, CHUNK_BYTES)
