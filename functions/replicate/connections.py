"""HTTP/1.1 over kept-alive connections, with as few layers between socket and buffer as Python has.

The bytes of every object pass through here twice, so this is `http.client` and what it lacks: reuse
across invocations and threads, deadlines, and one exception for everything that can break.
"""

import functools
import http.client
import io
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, Self
from urllib.parse import urlsplit

from replicate.deadline import Deadline
from replicate.errors import SettingsError

CONNECT_TIMEOUT_S = 5.0
IO_TIMEOUT_S = 20.0
"""For one wait on a socket, not for a whole request."""

DRAIN_BYTES = 64 * 1024
"""A response with no more than this left unread is read to its end, to keep its connection."""

KEEP_S = 30.0
"""By the wall clock: while the environment is frozen between invocations, servers hang up."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Answers that are read whole (never objects) are not longer than this, whoever sends them."""

Buffer = bytes | bytearray | memoryview


class BrokenConnectionError(Exception):
    """The connection could not be made, broke, or stood still for too long."""


@contextmanager
def _may_break() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise BrokenConnectionError(f"{type(error).__name__}: {error}") from error


class _Answer(http.client.HTTPResponse):
    """An answer that is read as it arrives, and only taken for whole when it is."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        self.fp = _Stream(self.fp.detach())


class _Stream(io.BufferedReader):
    """Waits once at a time, so that many short waits cannot outlast a deadline unseen.

    And does not end within a line: `http.client` would take what there is for a whole head.
    """

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        return self.readinto1(buffer)

    def readline(self, limit: int | None = -1, /) -> bytes:
        line = super().readline(limit)
        if not line.endswith(b"\n") and len(line) != limit:
            raise http.client.IncompleteRead(line)
        return line


class _Readable(Protocol):
    """What is used of `http.client.HTTPResponse`."""

    status: int
    headers: http.client.HTTPMessage
    length: int | None

    def read(self, amount: int, /) -> bytes: ...
    def readinto(self, buffer: memoryview, /) -> int: ...
    def isclosed(self) -> bool: ...


class Response:
    """An answer whose body may still be on the wire. Close it, or use it as a context."""

    def __init__(self, raw: _Readable, lease: "_Lease") -> None:
        self._raw = raw
        self._lease = lease
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers  # type: ignore[assignment]

    def read(self) -> bytes:
        """The rest of a short body. Raises BrokenConnectionError."""
        with _may_break():
            data = self._raw.read(MAX_ANSWER_BYTES)
        if self._raw.length:
            raise BrokenConnectionError("the answer ended early, or is too long")
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Read what has arrived; nothing only at the stream's end.

        Raises BrokenConnectionError, OutOfTimeError.
        """
        self._lease.deadline.require()
        with _may_break():
            self._lease.limit_waiting()
            return self._raw.readinto(buffer)

    def close(self) -> None:
        """Give the connection back if it is clean, or soon can be; else close it."""
        try:
            if not self._raw.isclosed() and (self._raw.length or 0) <= DRAIN_BYTES:
                self._raw.read(DRAIN_BYTES)
            self._lease.end(reusable=self._raw.isclosed())
        except (OSError, http.client.HTTPException):
            self._lease.end(reusable=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Upload:
    """A request whose body is being sent piece by piece."""

    def __init__(self, lease: "_Lease") -> None:
        self._lease = lease

    def send(self, data: Buffer) -> None:
        """Raises BrokenConnectionError."""
        try:
            with _may_break():
                self._lease.limit_waiting()
                self._lease.connection.send(data)
        except BrokenConnectionError:
            self._lease.sound = False
            raise

    def response(self) -> Response:
        """Raises BrokenConnectionError."""
        return self._lease.response()


@dataclass(slots=True)
class _Lease:
    """One connection while one request has it."""

    pool: "Connections"
    connection: http.client.HTTPConnection
    deadline: Deadline
    sound: bool = True
    ended: bool = False

    def response(self) -> Response:
        with _may_break():
            self.limit_waiting()
            return Response(self.connection.getresponse(), self)

    def limit_waiting(self) -> None:
        """Let no wait on the socket outlast the deadline."""
        if self.connection.sock is not None:
            self.connection.sock.settimeout(self._at_most(IO_TIMEOUT_S))

    def _at_most(self, seconds: float) -> float:
        return max(0.1, min(seconds, self.deadline.remaining()))

    def begin(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send a request's head."""
        connection = self.connection
        if connection.sock is None:
            connection.timeout = self._at_most(CONNECT_TIMEOUT_S)
            connection.connect()
        self.limit_waiting()
        connection.putrequest(
            method, target, skip_host="Host" in headers, skip_accept_encoding=True
        )
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()

    def end(self, *, reusable: bool) -> None:
        """Once: by now a connection that was given back may be somebody else's."""
        if self.ended:
            return
        self.ended = True
        if reusable and self.sound and self.connection.sock is not None:
            self.pool.give_back(self.connection)
        else:
            self.connection.close()


class Connections:
    """Connections to one endpoint, kept for the next request. Safe across threads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(
                f"{url!r} is not an endpoint: expected https://host or http://host:port."
            )
        self._host, self._port = parts.hostname, parts.port
        self._tls = _tls() if parts.scheme == "https" else None
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        body: Sequence[Buffer] = (),
    ) -> Response:
        """Send a request; its answer's body is still to be read.

        Raises BrokenConnectionError, OutOfTimeError.
        """
        with self.upload(method, target, headers, deadline) as upload:
            try:
                for piece in body:
                    upload.send(piece)
            except BrokenConnectionError:  # perhaps the server had read enough to refuse
                return upload.response()
            return upload.response()

    @contextmanager
    def upload(
        self, method: str, target: str, headers: Mapping[str, str], deadline: Deadline
    ) -> Iterator[Upload]:
        """Send the head of a request; its body and its answer are the caller's.

        Raises BrokenConnectionError, OutOfTimeError. Left before there was an answer, it breaks the
        connection off, and the server sees a request that ends early.
        """
        deadline.require()
        lease = _Lease(self, self._take() or self._connection(), deadline)
        try:
            with _may_break():
                lease.begin(method, target, headers)
            yield Upload(lease)
        except BaseException:
            lease.end(reusable=False)
            raise

    def give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append((time.time(), connection))

    def close(self) -> None:
        """Close what is kept. The next request connects anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection = (
            http.client.HTTPConnection(self._host, self._port)
            if self._tls is None
            else http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        )
        connection.response_class = _Answer
        return connection

    def _take(self) -> http.client.HTTPConnection | None:
        """The connection used last, if it is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, connection = self._idle.pop()
            if time.time() - since < KEEP_S and not _has_input(connection.sock):
                return connection
            connection.close()


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once: it takes longer to load the certificate authorities than to make a request."""
    return ssl.create_default_context()


def _has_input(sock: socket.socket) -> bool:
    """Between two requests there is nothing to read, unless the server has hung up."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
