"""HTTP/1.1 over TLS, as little of it as the clients need, and a thread for each connection."""

import contextlib
import io
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from tools.benchmarks import series
from tools.benchmarks.servers.journal import Journal

READ_BYTES = 256 * 1024
CONNECT_TRIPS = 2
"""Round trips of a new connection before its first request: one of TCP, one of TLS 1.3."""

ADMIN = "/_bench/"


class Body:
    """The body of a request, still on the wire: Content-Length or chunked."""

    def __init__(self, source: io.BufferedIOBase, headers: Mapping[str, str]) -> None:
        self._source = source
        self._chunked = headers.get("transfer-encoding", "") == "chunked"
        self._left = int(headers.get("content-length", "0"))

    def pieces(self) -> Iterator[memoryview]:
        """All of it; each piece is good until the next one is asked for."""
        buffer = memoryview(bytearray(READ_BYTES))
        while self._left or self._chunked:
            if not self._left and not self._next_chunk():
                return
            wanted = buffer[: self._left]
            if self._source.readinto(wanted) != len(wanted):
                raise ConnectionError("the request ended early")
            self._left -= len(wanted)
            if self._chunked and not self._left:
                self._source.readline()
            yield wanted

    def read(self) -> bytes:
        return b"".join(map(bytes, self.pieces()))  # copies, as the pieces share one buffer

    def drain(self) -> None:
        for _ in self.pieces():
            pass

    def _next_chunk(self) -> int:
        self._left = int(self._source.readline().split(b";")[0], 16)
        if not self._left:
            self._chunked = False
            self._source.readline()
        return self._left


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head; names of headers in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. `what` is the request's name in the journal."""

    what: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[memoryview] = b""

    @classmethod
    def of_json(cls, what: str, status: int, document: object, **headers: str) -> "Answer":
        stated = {"Content-Type": "application/json; charset=UTF-8", **headers}
        return cls(what, status, stated, json.dumps(document).encode())


class Application(Protocol):
    """What is behind the server."""

    journal: Journal

    def answer(self, request: Request) -> Answer: ...


class Server(socketserver.ThreadingTCPServer):
    """Listens on a port of its own. `delay_s` passes before each answer: the wire's round trip."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, application: Application, tls: ssl.SSLContext | None = None) -> None:
        self.application = application
        self.tls = tls
        self.delay_s = 0.0
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def administer(self, request: Request) -> Answer:
        """How the benchmark speaks with its servers: neither delayed nor in the journal."""
        request.body.drain()
        if "delay_ms" in request.query:
            self.delay_s = float(request.query["delay_ms"]) / 1000
        if "prime" in request.query:
            series.prime(int(request.query["prime"]))
        return Answer.of_json("admin", HTTPStatus.OK, self.application.journal.take())


class _Connection(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        raw: socket.socket = self.request
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(CONNECT_TRIPS * self.server.delay_s)
        with contextlib.suppress(OSError):  # a client that hangs up is none of our business
            if self.server.tls is None:
                self._serve(raw)
                return
            with self.server.tls.wrap_socket(raw, server_side=True) as secure:
                self._serve(secure)

    def _serve(self, connection: socket.socket) -> None:
        with cast("io.BufferedReader", connection.makefile("rb", 64 * 1024)) as source:
            while request := _read(source):
                began = time.monotonic()
                if request.path.startswith(ADMIN):
                    _send(connection, request, self.server.administer(request))
                    continue
                answer = self._answer(request)
                request.body.drain()
                time.sleep(self.server.delay_s)
                self.server.application.journal.asked(answer.what, began, time.monotonic())
                _send(connection, request, answer)

    def _answer(self, request: Request) -> Answer:
        """A request that the server cannot understand is a fault of the run, not of one thread."""
        application = self.server.application
        try:
            return application.answer(request)
        except (LookupError, ValueError) as error:
            application.journal.wrong(f"{request.method} {request.path}: {error!r}")
            raise ConnectionError from error


def _read(source: io.BufferedIOBase) -> Request | None:
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
    return Request(method, unquote(parts.path), query, headers, Body(source, headers))


def _send(connection: socket.socket, request: Request, answer: Answer) -> None:
    headers: dict[str, Any] = dict(answer.headers)
    if isinstance(answer.body, bytes):
        headers.setdefault("Content-Length", len(answer.body))
    head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    if request.method == "HEAD":
        connection.sendall(head.encode())
    elif isinstance(answer.body, bytes):
        connection.sendall(head.encode() + answer.body)
    else:
        connection.sendall(head.encode())
        for piece in answer.body:
            connection.sendall(piece)
