"""HTTP/1.1 over TLS with a thread for each connection: only what the clients need.

Not on Werkzeug: its server takes 2.0 ms of CPU for a GET of 10 KiB, this one 0.3, and the clients
share its cores (2026-11-25, TLS, on two cores).
"""

import contextlib
import io
import json
import socket
import socketserver
import ssl
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from tools.benchmarks import series
from tools.benchmarks.servers.journal import Journal
from tools.benchmarks.servers.pace import Pace

READ_BYTES = 256 * 1024
CONNECT_TRIPS = 2
"""Round trips of a new connection before its first request: one of TCP, one of TLS 1.3."""

ADMIN = "/_bench"


class Body:
    """The body of a request, read from the connection: with Content-Length or chunked."""

    def __init__(self, source: io.BufferedIOBase, headers: Mapping[str, str], pace: Pace) -> None:
        self._source = source
        self._pace = pace
        self._chunked = headers.get("transfer-encoding", "") == "chunked"
        self._left = int(headers.get("content-length", "0"))

    def pieces(self) -> Iterator[memoryview]:
        """Yield the rest. Each piece is valid until the next one is read."""
        buffer = memoryview(bytearray(READ_BYTES))
        while self._left or self._chunked:
            if not self._left and not self._next_chunk():
                return
            piece = buffer[: self._left]
            if self._source.readinto(piece) != len(piece):
                raise ConnectionError("the request ended early")
            self._pace.wait(len(piece))
            self._left -= len(piece)
            if self._chunked and not self._left:
                self._source.readline()
            yield piece

    def read(self) -> bytes:
        """Return the rest."""
        return b"".join(map(bytes, self.pieces()))  # copies: the pieces share a buffer

    def _next_chunk(self) -> int:
        self._left = int(self._source.readline().split(b";")[0], 16)
        if not self._left:
            self._chunked = False
            self._source.readline()
        return self._left


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request, with header names in lower case, and its body."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `name` is the request's name in the journal."""

    name: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[memoryview] = b""

    @classmethod
    def of_json(cls, name: str, status: int, document: object) -> "Response":
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        return cls(name, status, headers, json.dumps(document).encode())


class Application(Protocol):
    """The service behind a server."""

    journal: Journal

    def respond(self, request: Request) -> Response: ...


class Server(socketserver.ThreadingTCPServer):
    """Listens on a free port. Waits for `delay_s`, the round trip, before each response.

    `rate` limits each connection, in bytes a second; 0 is no limit.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, application: Application, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.application = application
        self.tls = tls
        self.delay_s = 0.0
        self.rate = 0.0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server_address[1]}"

    def administer(self, request: Request) -> Response:
        """Set `delay_ms`, `rate` and `kind`, precompute a `size`, and return the journal.

        The request is neither delayed nor recorded.
        """
        self.delay_s = float(request.query.get("delay_ms", self.delay_s * 1000)) / 1000
        self.rate = float(request.query.get("rate", self.rate))
        if kind := request.query.get("kind"):
            series.use(kind)
        if size := request.query.get("size"):
            series.precompute(int(size))
        return Response.of_json("admin", HTTPStatus.OK, self.application.journal.take())


class _Connection(socketserver.BaseRequestHandler):
    server: Server
    _received = 0

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(CONNECT_TRIPS * self.server.delay_s)
        pace = Pace(lambda: self.server.rate)
        with (
            contextlib.suppress(OSError),  # a client may close at any time
            self.server.tls.wrap_socket(self.request, server_side=True) as connection,
            cast("io.BufferedReader", connection.makefile("rb", 64 * 1024)) as source,
        ):
            self._connection = connection
            while request := _read(source, pace):
                if "expect" in request.headers:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                if request.path == ADMIN:
                    _send(connection, request, self.server.administer(request), pace)
                else:
                    _send(connection, request, self._respond(request), pace)

    def _respond(self, request: Request) -> Response:
        """Let the application respond. A request that it cannot read is an error of the client."""
        received = time.monotonic()
        application = self.server.application
        try:
            response = application.respond(request)
        except (LookupError, ValueError) as error:
            application.journal.add_error(f"{request.method} {request.path}: {error!r}")
            raise ConnectionError from error
        for _ in request.body.pieces():
            pass
        time.sleep(self.server.delay_s)
        application.journal.add_request(response.name, received, time.monotonic())
        application.journal.add_received(self._received_since())
        return response

    def _received_since(self) -> int:
        """Return how many bytes of TCP have arrived since the last call, as the kernel counts them.

        `tcpi_bytes_received` is the 64-bit number at offset 128 of Linux's `struct tcp_info`.
        """
        state = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
        before, self._received = self._received, int.from_bytes(state[128:136], sys.byteorder)
        return self._received - before


def _read(source: io.BufferedIOBase, pace: Pace) -> Request | None:
    """Read the head of a request; None when the client has closed the connection."""
    line = source.readline()
    if not line:
        return None
    method, target, _ = line.decode("ascii").split(" ")
    headers = {}
    while (line := source.readline()) not in {b"\r\n", b""}:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Request(method, unquote(parts.path), query, headers, Body(source, headers, pace))


def _send(connection: socket.socket, request: Request, response: Response, pace: Pace) -> None:
    """Send a small response in one segment, and a large one piece by piece."""
    headers = dict(response.headers)
    body = response.body
    if isinstance(body, bytes):
        headers.setdefault("Content-Length", str(len(body)))
    head = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    if request.method == "HEAD":
        connection.sendall(head.encode())
    elif isinstance(body, bytes):
        connection.sendall(head.encode() + body)
    else:
        connection.sendall(head.encode())
        for piece in body:
            connection.sendall(piece)
            pace.wait(len(piece))
