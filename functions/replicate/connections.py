"""Connections that are kept: across invocations and threads, and never for longer than they last.

One exception stands for everything that can break, and no wait outlasts the invocation.
"""

import contextlib
import functools
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from replicate.deadline import Deadline
from replicate.errors import SettingsError
from replicate.http1 import Answer, Buffer, ProtocolError, Wire, request_head

CONNECT_TIMEOUT_S = 5.0
IO_TIMEOUT_S = 20.0
"""For one wait on a socket, not for a whole request."""

DRAIN_BYTES = 64 * 1024
"""A response with no more than this left unread is read to its end, to keep its connection."""

KEEP_S = 30.0
"""By the wall clock: while the environment is frozen between invocations, servers hang up."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Answers that are read whole (never objects) are not longer than this, whoever sends them."""


class BrokenConnectionError(Exception):
    """The connection could not be made, broke, or stood still for too long."""


@contextmanager
def _may_break() -> Iterator[None]:
    try:
        yield
    except (OSError, ProtocolError) as error:
        raise BrokenConnectionError(f"{type(error).__name__}: {error}") from error


class Response:
    """An answer whose body may still be on the wire. Close it, or use it as a context."""

    def __init__(self, answer: Answer, lease: "_Lease") -> None:
        self._answer = answer
        self._lease = lease
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    def read(self) -> bytes:
        """The rest of a short body. Raises BrokenConnectionError."""
        with _may_break():
            self._lease.limit_waiting()
            data = self._answer.read(MAX_ANSWER_BYTES)
            if self._answer.left:
                raise ProtocolError("the answer is too long")
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer`, or read what has come in a while; nothing only at the stream's end.

        Raises BrokenConnectionError, OutOfTimeError.
        """
        self._lease.deadline.require()
        with _may_break():
            self._lease.limit_waiting()
            return self._answer.readinto(buffer)

    def close(self) -> None:
        """Give the connection back if it is clean, or soon can be; else close it."""
        try:
            if 0 < self._answer.left <= DRAIN_BYTES:
                self._lease.limit_waiting()
                self._answer.read(DRAIN_BYTES)
            self._lease.end(reusable=self._answer.reusable)
        except (OSError, ProtocolError):
            self._lease.end(reusable=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(slots=True)
class _Lease:
    """One connection while one request has it."""

    pool: "Connections"
    wire: Wire
    deadline: Deadline
    method: str
    sound: bool = True
    ended: bool = False

    def send(self, *pieces: Buffer) -> None:
        """Raises BrokenConnectionError."""
        try:
            with _may_break():
                self.limit_waiting()
                self.wire.send(pieces)
        except BrokenConnectionError:
            self.sound = False
            raise

    def response(self) -> Response:
        """Raises BrokenConnectionError."""
        with _may_break():
            self.limit_waiting()
            return Response(self.wire.answer(self.method), self)

    def limit_waiting(self) -> None:
        """Let no wait on the socket outlast the deadline."""
        self.wire.wait_at_most(_at_most(IO_TIMEOUT_S, self.deadline))

    def end(self, *, reusable: bool) -> None:
        """Once: by now a connection that was given back may be somebody else's."""
        if self.ended:
            return
        self.ended = True
        if reusable and self.sound:
            self.pool.give_back(self.wire)
        else:
            self.wire.sock.close()


class Upload:
    """A request whose body is being sent piece by piece."""

    def __init__(self, lease: _Lease) -> None:
        self._lease = lease

    def send(self, data: Buffer) -> None:
        """Raises BrokenConnectionError."""
        self._lease.send(data)

    def response(self) -> Response:
        """Raises BrokenConnectionError."""
        return self._lease.response()


class Connections:
    """Connections to one endpoint, kept for the next request. Safe across threads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(
                f"{url!r} is not an endpoint: expected https://host or http://host:port."
            )
        self._name = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self.host = parts.netloc.rpartition("@")[2]
        """What a request says in its `Host` header."""
        self._tls = tls() if parts.scheme == "https" else None
        self._idle: list[tuple[float, Wire]] = []
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
        with self._leased(method, deadline) as lease:
            head = self._head(method, target, headers)
            with contextlib.suppress(BrokenConnectionError):  # perhaps it had read enough to refuse
                lease.send(head, *body)
            return lease.response()

    @contextmanager
    def upload(
        self, method: str, target: str, headers: Mapping[str, str], deadline: Deadline
    ) -> Iterator[Upload]:
        """Send the head of a request; its body and its answer are the caller's.

        Raises BrokenConnectionError, OutOfTimeError. Left before there was an answer, it breaks the
        connection off, and the server sees a request that ends early.
        """
        with self._leased(method, deadline) as lease:
            lease.send(self._head(method, target, headers))
            yield Upload(lease)

    def give_back(self, wire: Wire) -> None:
        with self._lock:
            self._idle.append((time.time(), wire))

    def close(self) -> None:
        """Close what is kept. The next request connects anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, wire in idle:
            wire.sock.close()

    @contextmanager
    def _leased(self, method: str, deadline: Deadline) -> Iterator[_Lease]:
        deadline.require()
        with _may_break():
            wire = self._take() or Wire.connect(
                self._name, self._port, self._tls, _at_most(CONNECT_TIMEOUT_S, deadline)
            )
        lease = _Lease(self, wire, deadline, method)
        try:
            yield lease
        except BaseException:
            lease.end(reusable=False)
            raise

    def _head(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        with _may_break():
            return request_head(method, target, {"Host": self.host, **headers})

    def _take(self) -> Wire | None:
        """The connection used last, if it is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, wire = self._idle.pop()
            if time.time() - since < KEEP_S and wire.quiet():
                return wire
            wire.sock.close()


def _at_most(seconds: float, deadline: Deadline) -> float:
    return max(0.1, min(seconds, deadline.remaining()))


@functools.cache
def tls() -> ssl.SSLContext:
    """Made once: it takes longer to load the certificate authorities than to make a request."""
    return ssl.create_default_context()
