"""HTTP over TLS: cut off, changed on the way, too slow, of a stranger, more than was asked for."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from replicate import connections
from replicate.connections import BrokenConnectionError, Connections
from replicate.deadline import Deadline
from replicate.http1 import Answer, Wire

HOST = "127.0.0.1"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class Server:
    """The other side. It can tell what it would send instead of sending it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listening = socket.create_server((HOST, 0))
        self._listening.settimeout(5)
        self.port = self._listening.getsockname()[1]
        self._accepted: list[socket.socket] = []

    def accept(self) -> "Server":
        """Shake hands with the next client."""
        self.raw, _ = self._listening.accept()
        self._accepted.append(self.raw)
        self.raw.settimeout(5)
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self._context.wrap_bio(self._received, self._to_send, server_side=True)
        self.step(self.tls.do_handshake)
        return self

    def records(self, data: bytes) -> bytes:
        """`data` as it travels."""
        self.tls.write(data)
        return self._to_send.read()

    def goodbye(self) -> bytes:
        """What says that nothing follows."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._to_send.read()

    def step(self, of_tls: Callable[[], object]) -> None:
        while True:
            try:
                of_tls()
            except ssl.SSLWantReadError:
                self.raw.sendall(self._to_send.read())
                received = self.raw.recv(4096)
                self._received.write(received) if received else self._received.write_eof()
            else:
                self.raw.sendall(self._to_send.read())
                return

    def close(self) -> None:
        for each in (self._listening, *self._accepted):
            each.close()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    server = Server(context)
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[ThreadPoolExecutor]:
    """Return a thread for the other side."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def wire(
    request: pytest.FixtureRequest,
    server: Server,
    other: ThreadPoolExecutor,
    trusting: ssl.SSLContext,
) -> Iterator[Wire]:
    """Return a connection after the handshake."""
    trusting.maximum_version = request.param
    accepted = other.submit(server.accept)
    wire = Wire.connect(HOST, server.port, trusting, 5)
    accepted.result()
    wire.wait_at_most(5)
    yield wire
    wire.sock.close()


def body(answer: Answer) -> bytes:
    data = bytearray()
    buffer = memoryview(bytearray(1000))
    while count := answer.readinto(buffer):
        data += buffer[:count]
    return bytes(data)


def test_a_body_without_a_length_ends_with_a_goodbye(wire: Wire, server: Server) -> None:
    data = bytes(range(256)) * 300
    server.raw.sendall(server.records(OK + b"\r\n" + data) + server.goodbye())
    assert body(wire.answer("GET")) == data


@pytest.mark.parametrize("missing", [0, 1])
def test_a_cut_is_no_end(wire: Wire, server: Server, missing: int) -> None:
    """Whoever can cut a connection cannot make a short answer look whole."""
    sent = server.records(OK + b"\r\nfirst") + server.records(b"second")
    server.raw.sendall(sent[: len(sent) - missing])
    server.raw.shutdown(socket.SHUT_WR)
    answer = wire.answer("GET")
    with pytest.raises(OSError, match="EOF"):
        body(answer)


def test_what_came_before_a_cut_is_read_first(wire: Wire, server: Server) -> None:
    server.raw.sendall(server.records(OK + b"Content-Length: 9\r\n\r\nfir") + server.records(b"st"))
    server.raw.shutdown(socket.SHUT_WR)
    answer = wire.answer("GET")
    buffer = memoryview(bytearray(9))
    assert bytes(buffer[: answer.readinto(buffer)]) == b"first"
    with pytest.raises(OSError, match="EOF"):
        answer.readinto(buffer)


def test_a_changed_byte_is_an_error(wire: Wire, server: Server) -> None:
    sent = bytearray(server.records(OK + b"\r\n"))
    sent[-1] ^= 1
    server.raw.sendall(sent)
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac|record.layer.failure"):
        wire.answer("GET")


def drip(sock: socket.socket, data: bytes, enough: threading.Event) -> None:
    for byte in data:
        sock.sendall(bytes([byte]))
        if enough.wait(0.1):
            return


def test_a_record_that_drips_is_waited_for_no_longer_than_one_that_does_not_come(
    wire: Wire, server: Server, other: ThreadPoolExecutor
) -> None:
    server.raw.sendall(server.records(OK + b"\r\n"))
    answer = wire.answer("GET")
    enough = threading.Event()
    dripping = other.submit(drip, server.raw, server.records(b"data" * 64), enough)
    wire.wait_at_most(0.5)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        body(answer)
    assert time.monotonic() - started < 2
    enough.set()
    dripping.result()


def test_a_handshake_that_drips_has_no_more_time(
    other: ThreadPoolExecutor, trusting: ssl.SSLContext
) -> None:
    enough = threading.Event()
    with socket.create_server((HOST, 0)) as listening:

        def serve() -> None:
            with listening.accept()[0] as client:
                drip(client, b"\x16\x03\x03\x40\x00" + bytes(200), enough)

        serving = other.submit(serve)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            Wire.connect(HOST, listening.getsockname()[1], trusting, 0.5)
        assert time.monotonic() - started < 2
        enough.set()
        serving.result()


@pytest.mark.parametrize("stranger", ["authority", "host"])
def test_a_stranger_is_not_talked_to(
    server: Server, other: ThreadPoolExecutor, trusting: ssl.SSLContext, stranger: str
) -> None:
    trusted = trusting if stranger == "host" else ssl.create_default_context()
    host = "localhost" if stranger == "host" else HOST
    accepted = other.submit(server.accept)
    with pytest.raises(ssl.SSLCertVerificationError):
        Wire.connect(host, server.port, trusted, 5)
    assert isinstance(accepted.exception(), OSError)


@pytest.fixture
def trusted(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """Let the whole process trust our authority, as OpenSSL is told to."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    connections.tls.cache_clear()
    yield
    connections.tls.cache_clear()


HEAD = OK + b"Content-Length: 5\r\n\r\n"


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "records",
    [[HEAD + b"first" + HEAD + b"extra"], [HEAD + b"first", HEAD], [HEAD, b"first" + HEAD]],
    ids=["in its record", "in a record of its own", "in its body's record"],
)
def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(
    server: Server, other: ThreadPoolExecutor, records: list[bytes]
) -> None:
    def serve() -> None:
        for answers in records, [HEAD + b"other"]:
            server.accept()
            server.step(lambda: server.tls.read(4096))
            server.raw.sendall(b"".join(map(server.records, answers)))

    serving = other.submit(serve)
    pool = Connections(f"https://{HOST}:{server.port}")
    for expected in (b"first", b"other"):
        with pool.request("GET", "/", {}, Deadline(5)) as response:
            assert response.read() == expected
    pool.close()
    serving.result()


@pytest.mark.usefixtures("trusted")
def test_what_breaks_of_tls_is_a_broken_connection(
    server: Server, other: ThreadPoolExecutor
) -> None:
    accepted = other.submit(server.accept)
    with pytest.raises(BrokenConnectionError, match="certificate"):
        Connections(f"https://localhost:{server.port}").request("GET", "/", {}, Deadline(5))
    assert isinstance(accepted.exception(), OSError)
