"""The client's half of HTTP/1.1 on one socket: of RFC 9112, as much as S3 and GCS need.

`http.client` reads a head as if it were an e-mail, takes one that was cut short for whole, and
hands each 16 KiB of a body through three more layers: docs/PERFORMANCE.md has what that costs.
"""

import re
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Self, cast

Buffer = bytes | bytearray | memoryview

JOINED_BYTES = 64 * 1024
"""What belongs together and is no longer than this is sent at once: in one packet, one record."""

A_WHILE_S = 0.5
"""Who reads a body that only drips gets to look at the clock this often."""

_Read = Callable[[int, memoryview], int]
_RECEIVED_BYTES = 16 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_TARGET = re.compile(r"/[!-~]*")
_LINE_BREAK = re.compile(r"[\0\r\n]")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(r"\d{1,18}")
_CHUNK = re.compile(r"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class ProtocolError(Exception):
    """What came is not an answer, or it ended early; or what was to be sent is not a request."""


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Raises ProtocolError rather than to send what would be read as something else."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    if not _TARGET.fullmatch(target) or any(map(_LINE_BREAK.search, lines)):
        raise ProtocolError("the request has a character that none can have")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Headers(Mapping[str, str]):
    """By names in any case, and listed in lower case."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._values: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not _NAME.fullmatch(name):
                raise ProtocolError("the answer has a header without a name")
            name, value = name.lower(), value.strip(" \t")
            known = self._values.get(name)
            self._values[name] = value if known is None else f"{known}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Wire:
    """A connection, and what has been received on it and not been asked for yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.early = bytearray()
        self.closed = False
        self._waits_until = 0.0
        self._broken: OSError | None = None
        # Of TLS one record at most; `recv_into` would take a detour to the same, for each of them.
        self._read = cast("_Read", sock.read) if isinstance(sock, ssl.SSLSocket) else _reading(sock)

    @classmethod
    def connect(cls, host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float) -> Self:
        """Raises OSError. Only the resolver's time is its own."""
        sock = _connected(host, port, time.monotonic() + timeout_s)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:  # and a connection that is cut is no end of an answer
                sock = tls.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False)
            return cls(sock)
        except BaseException:
            sock.close()
            raise

    def quiet(self) -> bool:
        """Whether nothing has come that nobody asked for, such as that the server hangs up."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    def wait_at_most(self, seconds: float) -> None:
        """For a whole head, for a body read as a whole, or for the next bytes of one."""
        self.sock.settimeout(seconds)
        self._waits_until = time.monotonic() + seconds

    def go_on_waiting(self) -> None:
        """Raises TimeoutError, when it was long enough already."""
        left = self._waits_until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer came too slowly")
        self.sock.settimeout(left)

    def send(self, pieces: Sequence[Buffer]) -> None:
        """Raises OSError."""
        if sum(map(len, pieces)) <= JOINED_BYTES:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self.sock.sendall(piece)

    def answer(self, method: str) -> "Answer":
        """What is said to the request that was sent. Raises OSError, ProtocolError."""
        while True:
            status_line, *lines = self._until(b"\r\n\r\n").split("\r\n")
            found = _STATUS_LINE.fullmatch(status_line)
            if found is None:
                raise ProtocolError("the answer has no status")
            status = int(found[2])
            if status >= HTTPStatus.OK:  # below that, the real one is still to come
                return Answer(self, method, status, Headers(lines), persistent=found[1] == "1")

    def line(self) -> str:
        """Raises OSError, ProtocolError."""
        return self._until(b"\r\n")

    def fill(self, buffer: memoryview) -> int:
        """Fill `buffer`, or read what comes until the other side closes or `A_WHILE_S` is over.

        Raises OSError: for a connection that breaks, when all that came before has been read.
        """
        if self._broken:
            raise self._broken
        count = min(len(self.early), len(buffer))
        if count:
            buffer[:count] = self.early[:count]
            del self.early[:count]
        size, enough = len(buffer), time.monotonic() + A_WHILE_S
        while count < size and time.monotonic() < enough:
            try:
                received = self._read(size - count, buffer[count:])
            except OSError as error:
                if not count:
                    raise
                self._broken = error
                break
            if not received:
                self.closed = True
                break
            count += received
        return count

    def _until(self, end: bytes) -> str:
        """What comes before `end`."""
        while (size := self.early.find(end)) < 0:
            self.go_on_waiting()
            received = self.sock.recv(_RECEIVED_BYTES)
            if not received or len(self.early) > _MAX_HEAD_BYTES:
                raise ProtocolError("the answer ended early, or its head does not end")
            self.early += received
        found = self.early[:size].decode("latin-1")
        del self.early[: size + len(end)]
        return found


def _reading(sock: socket.socket) -> _Read:
    return lambda size, buffer: sock.recv_into(buffer, size)


def _connected(host: str, port: int, until: float) -> socket.socket:
    """Connect to the first address that answers. Raises OSError.

    All of them share the time; `socket.create_connection` would give it to each of them.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.1, (until - time.monotonic()) / (len(addresses) - tried)))
            sock.connect(address)
        except OSError:
            sock.close()
            if tried == len(addresses) - 1:
                raise
        else:
            sock.settimeout(max(0.1, until - time.monotonic()))
            return sock
    raise OSError(f"{host} has no address")


class Answer:
    """An answer's head, and its body as it arrives."""

    def __init__(
        self, wire: Wire, method: str, status: int, headers: Headers, *, persistent: bool
    ) -> None:
        self._wire = wire
        self._persistent = persistent and headers.get("connection", "").lower() != "close"
        self._chunked = self._until_closed = False
        self.status = status
        self.headers = headers
        self.left = 0
        """How many bytes of the body, or of its current chunk, are still to be read."""
        if method == "HEAD" or status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            return
        if "transfer-encoding" in headers:
            self._chunked = True
            self._next_chunk()
        elif "content-length" in headers:
            if not _LENGTH.fullmatch(headers["content-length"]):
                raise ProtocolError("the answer has no length that makes sense")
            self.left = int(headers["content-length"])
        else:
            self._until_closed, self.left = True, sys.maxsize

    @property
    def reusable(self) -> bool:
        """Whether it was read to its end, and another request may follow on the connection."""
        return self._persistent and not (self.left or self._wire.early)

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer`, or read what has come in a while; nothing only at the end.

        Raises OSError, ProtocolError.
        """
        count = 0
        while self.left and count < len(buffer):
            wanted = buffer[count : count + self.left]
            received = self._wire.fill(wanted)
            count += received
            self.left -= received
            if received < len(wanted):
                self._stopped(early=not count)
                break
            if self._chunked and not self.left:
                self._end_chunk()
        return count

    def read(self, limit: int) -> bytes:
        """The rest of the body, or its first `limit` bytes. Raises OSError, ProtocolError."""
        data = bytearray()
        while self.left and len(data) < limit:
            self._wire.go_on_waiting()
            piece = memoryview(bytearray(min(self.left, limit - len(data), _RECEIVED_BYTES)))
            data += piece[: self.readinto(piece)]
        return bytes(data)

    def _stopped(self, *, early: bool) -> None:
        if self._wire.closed and self._until_closed:
            self.left, self._persistent = 0, False
        elif self._wire.closed and early:
            raise ProtocolError("the answer ended early")

    def _end_chunk(self) -> None:
        if self._wire.line():
            raise ProtocolError("the answer has a chunk that does not end")
        self._next_chunk()

    def _next_chunk(self) -> None:
        """Read on to the bytes of the next chunk, or to the body's end."""
        found = _CHUNK.fullmatch(self._wire.line())
        if found is None:
            raise ProtocolError("the answer has a chunk of no size")
        self.left = int(found[1], 16)
        while not self.left and self._wire.line():
            pass  # what follows the last chunk tells us nothing
