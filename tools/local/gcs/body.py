"""A request's body, read as it arrives.

Not Werkzeug's streams: they block until a buffer is full, so a cut would lose received bytes.
"""

import io
from collections.abc import Callable, Iterator

from tools.local.gcs.errors import ApiError, ConnectionCutError
from tools.local.gcs.spool import CHUNK_BYTES

_MAX_LINE_BYTES = 64 * 1024


class Body:
    """A body framed by Content-Length or in chunks; faults interrupt it at a byte."""

    def __init__(
        self,
        stream: io.BufferedReader,
        length: int | None,
        send_continue: Callable[[], None] | None,
    ) -> None:
        """Read `length` bytes of `stream`, chunks if None. `send_continue` precedes a read."""
        self.length = length
        self.received = 0  # bytes on the wire, without the framing
        self._stream = stream
        self._is_chunked = length is None
        self._left = length or 0  # of the body, or of the current chunk
        self._finished = length == 0
        self._send_continue = send_continue
        self._stop_after: int | None = None
        self._stop: ApiError | ConnectionCutError = ConnectionCutError()

    @property
    def awaits_continue(self) -> bool:
        """Whether the client still waits for `100 Continue` before it sends the body."""
        return self._send_continue is not None and not self._finished

    def stop_after(self, count: int, error: ApiError | None = None) -> None:
        """Let `count` bytes through, then raise `error`, or cut the connection if None."""
        self._stop_after, self._stop = count, error or ConnectionCutError()
        if self.received >= count:  # there may be nothing left to read
            raise self._stop

    def read(self, limit: int = CHUNK_BYTES) -> bytes:
        """Return what has arrived, at most `limit` bytes; empty only at the end."""
        if self._stop_after is not None:
            limit = min(limit, self._stop_after - self.received)
            if limit <= 0:
                raise self._stop
        try:
            data = b"" if self._finished else self._receive(limit)
        except OSError as error:
            raise ConnectionCutError from error
        self.received += len(data)
        return data

    def chunks(self) -> Iterator[bytes]:
        """Yield the rest of the body."""
        return iter(self.read, b"")

    def drain(self) -> None:
        """Discard the rest, so that the connection can carry the next request."""
        self._stop_after = None
        while self.read():
            pass

    def _receive(self, limit: int) -> bytes:
        if self._send_continue:
            self._send_continue()
            self._send_continue = None
        if self._is_chunked and not self._left:
            self._left = self._next_chunk()
        data = self._stream.read1(min(limit, self._left)) if self._left else b""
        if self._left and not data:
            raise ConnectionCutError
        self._left -= len(data)
        if self._is_chunked and data and not self._left:
            self._line()
        self._finished = not self._left and not (self._is_chunked and data)
        return data

    def _next_chunk(self) -> int:
        try:
            size = int(self._line().split(b";")[0], 16)
        except ValueError:  # the rest of the stream cannot be parsed
            raise ConnectionCutError from None
        while not size and self._line():  # trailers, up to the empty line
            pass
        return size

    def _line(self) -> bytes:
        line = self._stream.readline(_MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise ConnectionCutError
        return line.strip()
