"""A proxy that parses enough HTTP to inject a fault at a chosen place in an exchange.

The client's side of it is TLS, as S3's and GCS's are.
"""

import io
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

PIECE_BYTES = 64 * 1024
SLOW_CHUNK_BYTES = 1024
TIMEOUT_S = 60.0
_NO_BODY = frozenset({b"204", b"304"})


class Phase(StrEnum):
    """The four parts of an exchange, in order."""

    REQUEST_HEAD = "request-head"
    REQUEST_BODY = "request-body"
    RESPONSE_HEAD = "response-head"
    RESPONSE_BODY = "response-body"


@dataclass(frozen=True, slots=True)
class Place:
    """A moment in an exchange, when the fraction `part` of a phase has been forwarded."""

    phase: Phase
    part: float

    def __str__(self) -> str:
        where = {0.0: "before", 0.5: "inside", 1.0: "after"}
        return f"{where[self.part]}-{self.phase}"


class CutError(Exception):
    """Ends both connections of an exchange, with FIN or with RST."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class CannedResponseError(Exception):
    """Ends an exchange with a response of the proxy."""

    def __init__(self, response: bytes) -> None:
        super().__init__()
        self.response = response


ExchangeAction = Callable[["Exchange"], None]


@dataclass(slots=True)
class Fault:
    """A fault in one request, or in several: `action` raises, waits or does something.

    With `flip`, one bit of the byte at the place is flipped. With `chunk_delay_s`, the rest of
    the phase is forwarded in chunks of 1 KiB, with this delay between them.
    """

    step: str
    place: Place
    action: ExchangeAction = lambda _: None
    skip: int = 0
    times: int = 1
    flip: bool = False
    chunk_delay_s: float = 0.0
    triggered: int = 0


@dataclass(slots=True)
class RecordedRequest:
    """One request. `sent` is the number of bytes of its body that were forwarded."""

    step: str
    method: str
    target: str
    headers: Mapping[str, str]
    sent: int = 0
    status: int | None = None
    at: float = field(default_factory=time.monotonic)


class Proxy:
    """Listens on a free port in front of `upstream`. Call `close` at the end."""

    def __init__(
        self,
        upstream: tuple[str, int],
        step_of: Callable[[str, str, Mapping[str, str]], str],
        tls: ssl.SSLContext,
    ) -> None:
        self.upstream = upstream
        self.tls = tls
        self.step_of = step_of
        self.requests: list[RecordedRequest] = []
        self.watch: Callable[[str], None] = lambda _: None
        """Called with the step after each response of upstream, before it is forwarded."""
        self._faults: list[Fault] = []
        self._released = threading.Event()
        self._in_flight = 0
        self._changed = threading.Condition()
        self._sockets: set[socket.socket] = set()
        self._server = _Server(self)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def add(self, fault: Fault) -> None:
        """Add a fault, which waits for its step."""
        self._faults.append(fault)

    def stall(self, _: "Exchange") -> None:
        """Wait until the test stops the faults, and then cut. An action for a fault."""
        self._released.wait(TIMEOUT_S)
        raise CutError

    @property
    def is_released(self) -> bool:
        """Return whether the test has stopped the faults."""
        return self._released.is_set()

    def stop_faults(self) -> None:
        """Remove all faults, release stalled exchanges, and wait until none is under way."""
        self._faults.clear()
        self._released.set()
        with self._changed:
            assert self._changed.wait_for(lambda: not self._in_flight, TIMEOUT_S), "still busy"
        self._released = threading.Event()

    def close(self) -> None:
        """Close all connections and stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._released.set()
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def take(self, step: str) -> Fault | None:
        """Return the fault for this step, if one waits for it."""
        with self._changed:
            for fault in self._faults:
                if fault.step == step:
                    fault.skip -= 1
                    if fault.skip < 0 < fault.times:
                        fault.times -= 1
                        return fault
        return None

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count an exchange as under way."""
        with self._changed:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    @contextmanager
    def connected(self, client: socket.socket) -> Iterator[None]:
        """Track a connection while it is open."""
        self._sockets.add(client)
        try:
            yield
        finally:
            self._sockets.discard(client)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Connection)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a client. The TLS handshake happens at the first read, in its own thread."""
        client, address = super().get_request()
        tls = self.proxy.tls
        return tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False), address


class _Connection(socketserver.StreamRequestHandler):
    """A client's connection, one exchange after the other."""

    server: _Server
    request: socket.socket
    disable_nagle_algorithm = True

    def handle(self) -> None:
        proxy = self.server.proxy
        with proxy.connected(self.request), suppress(OSError):
            while head := _read_head(self.rfile):
                exchange = Exchange(proxy, self.request, self.rfile, head)
                with proxy.in_flight():
                    whole = exchange.relay()
                if not whole:
                    _drain(self.request)
                    return


@dataclass(frozen=True, slots=True)
class _Head:
    raw: bytes
    first: list[bytes]
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))


class Exchange:
    """One request to upstream and its response."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, rfile: io.BufferedIOBase, head: _Head
    ) -> None:
        method, target = (word.decode("latin-1") for word in head.first[:2])
        self.request = RecordedRequest(
            proxy.step_of(method, target, head.headers), method, target, head.headers
        )
        proxy.requests.append(self.request)
        self._proxy = proxy
        self._client = client
        self._rfile = rfile
        self._body: io.BufferedIOBase = rfile
        self._body_left = head.length
        self._head = head
        self._fault = proxy.take(self.request.step)

    def read_ahead(self) -> bytes:
        """Read the whole request, so that it reaches upstream even when the client disconnects.

        For actions before the request body. Return the body.
        """
        data = self._rfile.read(self._head.length)
        self._body = io.BytesIO(data)
        return data

    def relay(self) -> bool:
        """Forward the exchange. Return whether the connection can carry another request."""
        upstream = socket.create_connection(self._proxy.upstream, TIMEOUT_S)
        from_upstream = upstream.makefile("rb")
        try:
            self._pass_on(upstream, from_upstream)
        except CannedResponseError as own:
            self._copy(self._body, self._body_left, None)
            self._client.sendall(own.response)
        except CutError as cut:
            _cut(self._client, self._rfile, reset=cut.reset)
            _cut(upstream, from_upstream, reset=cut.reset)
            if not cut.reset:
                _drain(upstream)
            return False
        finally:
            from_upstream.close()
            upstream.close()
        return True

    def _pass_on(self, upstream: socket.socket, from_upstream: io.BufferedIOBase) -> None:
        head = self._head
        self._pass(Phase.REQUEST_HEAD, io.BytesIO(head.raw), len(head.raw), upstream)
        self._pass(Phase.REQUEST_BODY, self._body, head.length, upstream)
        response = _read_head(from_upstream)
        self._proxy.watch(self.request.step)
        if response is None:
            raise CutError
        status = response.first[1]
        self.request.status = int(status)
        empty = self.request.method == "HEAD" or status in _NO_BODY
        self._pass(Phase.RESPONSE_HEAD, io.BytesIO(response.raw), len(response.raw), self._client)
        self._pass(
            Phase.RESPONSE_BODY, from_upstream, 0 if empty else response.length, self._client
        )

    def _pass(
        self, phase: Phase, source: io.BufferedIOBase, count: int, sink: socket.socket
    ) -> None:
        fault = self._fault
        if fault is None or fault.place.phase is not phase:
            self._copy(source, count, sink)
            return
        at = int(count * fault.place.part)
        self._copy(source, at, sink)
        fault.triggered += 1
        fault.action(self)
        if fault.flip:
            sink.sendall(bytes([source.read(1)[0] ^ 1]))
            at += 1
        while fault.chunk_delay_s and at < count and not self._proxy.is_released:
            time.sleep(fault.chunk_delay_s)
            self._copy(source, min(SLOW_CHUNK_BYTES, count - at), sink)
            at += min(SLOW_CHUNK_BYTES, count - at)
        self._copy(source, count - at, sink)

    def _copy(self, source: io.BufferedIOBase, count: int, sink: socket.socket | None) -> None:
        while count:
            piece = source.read1(min(count, PIECE_BYTES))
            if not piece:
                raise CutError
            count -= len(piece)
            if source is self._body:
                self._body_left -= len(piece)
                self.request.sent += len(piece)
            if sink:
                try:
                    sink.sendall(piece)
                except OSError:
                    raise CutError from None


def response(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """Return the bytes of an HTTP response."""
    fields = {"Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {fields[name]}" for name in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def _read_head(stream: io.BufferedIOBase) -> _Head | None:
    """Return the next request or status line with headers, but without `Connection`, or None."""
    lines: list[bytes] = []
    while (line := stream.readline(PIECE_BYTES)) not in {b"\r\n", b""}:
        if not line.lower().startswith(b"connection:"):
            lines.append(line)
    if not lines or not line:
        return None
    pairs = (each.decode("latin-1").strip().partition(":") for each in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return _Head(b"".join(lines) + b"\r\n", lines[0].split(), headers)


def _cut(end: socket.socket, stream: io.BufferedIOBase, *, reset: bool) -> None:
    with suppress(OSError):
        if reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
            end.close()
        else:
            end.shutdown(socket.SHUT_WR)


def _drain(end: socket.socket) -> None:
    """Wait until the peer closes. To close with unread bytes would reset the connection."""
    with suppress(OSError):
        end.settimeout(TIMEOUT_S)
        while end.recv(PIECE_BYTES):
            pass
