"""HTTP/1.1 as it is on the wire: what is understood, and what is refused."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from replicate.http1 import JOINED_BYTES, Answer, ProtocolError, Wire, request_head


@contextmanager
def wire_with(sent: bytes, *, closed: bool = True) -> Iterator[Wire]:
    """A connection on which the server has sent something, and then hung up."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        if closed:
            theirs.close()
        wire = Wire(ours)
        wire.wait_at_most(5)
        yield wire


def answer(sent: bytes, method: str = "GET") -> Answer:
    with wire_with(sent) as wire:
        return wire.answer(method)


def body(sent: bytes, buffer_bytes: int = 7) -> bytes:
    """The whole body, read through a buffer that fits nothing."""
    with wire_with(sent) as wire:
        found = wire.answer("GET")
        pieces = []
        buffer = memoryview(bytearray(buffer_bytes))
        while count := found.readinto(buffer):
            pieces.append(bytes(buffer[:count]))
        return b"".join(pieces)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"


class TestHead:
    def test_headers_are_found_by_names_in_any_case(self) -> None:
        headers = answer(OK + b'ETag:  "a" \t\r\nX-Amz-Meta-A: b:c\r\n\r\n').headers
        assert headers["etag"] == headers["ETAG"] == '"a"'
        assert dict(headers) == {"etag": '"a"', "x-amz-meta-a": "b:c"}
        assert headers.get("Range") is None

    def test_values_of_one_name_are_joined(self) -> None:
        assert answer(OK + b"A: 1\r\na: 2\r\n\r\n").headers["A"] == "1, 2"

    def test_bytes_of_other_encodings_come_through_as_latin_1(self) -> None:
        name = "naïve €"
        headers = answer(OK + b"x-amz-meta-a: " + name.encode() + b"\r\n\r\n").headers
        assert headers["x-amz-meta-a"].encode("latin-1").decode() == name

    def test_interim_answers_are_passed_over(self) -> None:
        found = answer(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK + b"\r\n"
        )
        assert found.status == 200

    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            OK,
            OK + b"A: 1\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n\r\n",
            OK + b"no colon\r\n\r\n",
            OK + b"A : 1\r\n\r\n",
            OK + b"A: 1\r\n folded\r\n\r\n",
            OK + b"Content-Length: -1\r\n\r\n",
            OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            OK + b"A: " + b"1" * 200_000,
        ],
    )
    def test_what_is_not_a_whole_answer_is_none(self, sent: bytes) -> None:
        with pytest.raises(ProtocolError):
            answer(sent)


class TestBody:
    def test_ends_where_its_length_says(self) -> None:
        assert body(OK + b"Content-Length: 10\r\n\r\n0123456789rest") == b"0123456789"

    def test_comes_in_chunks(self) -> None:
        sent = OK + CHUNKS + b"3\r\nabc\r\nA ; x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
        for size in (1, 2, 3, 7, 13, 100):
            assert body(sent, size) == b"abc0123456789"

    def test_without_a_length_it_ends_with_the_connection(self) -> None:
        assert body(OK + b"\r\n0123456789") == b"0123456789"

    @pytest.mark.parametrize(
        ("method", "sent"),
        [
            ("HEAD", OK + b"Content-Length: 10\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", OK + b"Content-Length: 0\r\n\r\n"),
            ("GET", OK + CHUNKS + b"0\r\n\r\n"),
        ],
    )
    def test_there_may_be_none(self, method: str, sent: bytes) -> None:
        with wire_with(sent) as wire:
            found = wire.answer(method)
            assert found.readinto(memoryview(bytearray(1))) == 0
            assert found.reusable

    @pytest.mark.parametrize(
        "sent",
        [
            OK + b"Content-Length: 10\r\n\r\n012345678",
            OK + CHUNKS + b"A\r\n012345678",
            OK + CHUNKS + b"3\r\nabc\r\n",
            OK + CHUNKS + b"3\r\nabcd\r\n0\r\n\r\n",
            OK + CHUNKS + b"+3\r\nabc\r\n0\r\n\r\n",
            OK + CHUNKS + b"3\r\nabc\r\n0\r\n",
        ],
    )
    def test_that_is_cut_short_or_garbled_is_never_taken_for_whole(self, sent: bytes) -> None:
        with pytest.raises(ProtocolError):
            body(sent)
        with pytest.raises(ProtocolError), wire_with(sent) as wire:
            wire.answer("GET").read(1000)

    def test_hands_out_what_came_before_it_was_cut_short(self) -> None:
        with wire_with(OK + b"Content-Length: 10\r\n\r\n01234") as wire:
            buffer = memoryview(bytearray(10))
            assert wire.answer("GET").readinto(buffer) == 5
            assert bytes(buffer[:5]) == b"01234"

    def test_that_only_drips_is_handed_out_as_it_comes_and_never_waited_for_as_a_whole(
        self,
    ) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            wire = Wire(ours)
            wire.wait_at_most(0.7)
            theirs.sendall(OK + b"Content-Length: 1000\r\n\r\n")
            found = wire.answer("GET")
            enough = threading.Event()

            def drip() -> None:
                while not enough.wait(0.05):
                    theirs.sendall(b".")

            dripping = threading.Thread(target=drip)
            dripping.start()
            assert 0 < found.readinto(memoryview(bytearray(1000))) < 100
            with pytest.raises(TimeoutError):
                found.read(1000)
            enough.set()
            dripping.join()

    def test_is_read_up_to_a_limit(self) -> None:
        with wire_with(OK + b"Content-Length: 10\r\n\r\n0123456789") as wire:
            found = wire.answer("GET")
            assert (found.read(4), found.left) == (b"0123", 6)
            assert found.read(100) == b"456789"


class TestReuse:
    def test_a_second_answer_follows_on_the_same_connection(self) -> None:
        one = OK + b"Content-Length: 3\r\n\r\nabc"
        with wire_with(one, closed=False) as wire:
            found = wire.answer("GET")
            assert not found.reusable
            assert found.read(100) == b"abc"
            assert found.reusable

    @pytest.mark.parametrize(
        "sent",
        [
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            OK + b"Connection: Close\r\nContent-Length: 0\r\n\r\n",
            OK + b"Content-Length: 0\r\n\r\nunasked",
            OK + b"\r\n",
        ],
    )
    def test_not_after_the_server_said_otherwise_or_too_much(self, sent: bytes) -> None:
        with wire_with(sent) as wire:
            found = wire.answer("GET")
            found.read(100)
            assert not found.reusable


class TestRequest:
    def test_head(self) -> None:
        assert request_head("GET", "/a?b=c", {"Host": "h", "A": "é"}) == (
            "GET /a?b=c HTTP/1.1\r\nHost: h\r\nA: é\r\n\r\n".encode("latin-1")
        )

    @pytest.mark.parametrize(
        ("target", "value"),
        [("/a b", ""), ("a", ""), ("/a\r\nX: y", ""), ("/é", ""), ("/", "a\r\nX: y"), ("/", "\n")],
    )
    def test_nothing_can_be_smuggled_into_it(self, target: str, value: str) -> None:
        with pytest.raises(ProtocolError):
            request_head("GET", target, {"A": value})

    @pytest.mark.parametrize("size", [1, JOINED_BYTES, 3 * JOINED_BYTES])
    def test_pieces_arrive_in_order(self, size: int) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            pieces = [b"head", memoryview(b"x" * size), bytearray(b"tail")]
            sending = threading.Thread(target=Wire(ours).send, args=[pieces])
            sending.start()
            with theirs.makefile("rb") as stream:
                assert stream.read(size + 8) == b"head" + b"x" * size + b"tail"
            sending.join()


class TestConnect:
    """All addresses of a name share the time there is."""

    @pytest.fixture
    def deaf(self) -> Iterator[tuple[str, int]]:
        """An address at which nobody ever answers: its queue is full."""
        with socket.socket() as server, socket.socket() as one, socket.socket() as other:
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            for filler in (one, other):
                filler.settimeout(0)
                filler.connect_ex(server.getsockname())
            yield server.getsockname()

    @staticmethod
    def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    def test_many_deaf_addresses_take_no_longer_than_one(
        self, deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.resolve(monkeypatch, *[deaf] * 4)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            Wire.connect("many", 443, None, 0.8)
        assert time.monotonic() - started < 1.6

    def test_the_next_address_is_tried(
        self, deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.resolve(monkeypatch, deaf, server.getsockname())
            wire = Wire.connect("two", 443, None, 1.0)
            assert wire.sock.getpeername() == server.getsockname()
            wire.sock.close()

    def test_a_name_without_an_address_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.resolve(monkeypatch)
        with pytest.raises(OSError, match="no address"):
            Wire.connect("none", 443, None, 1.0)
