"""Bodies on the wire: Content-Length or chunked, handed out as they arrive."""

import io
from collections.abc import Callable

from tools.local.gcs.errors import ConnectionCutError

_MAX_LINE = 64 * 1024


class Framed:
    """A body on the connection: Content-Length or chunked, told apart by the headers."""

    def __init__(
        self, source: io.BufferedReader, length: int | None, before: Callable[[], None]
    ) -> None:
        self._source = source
        self._chunked = length is None
        self._left = length or 0
        self._before = before
        self.finished = length == 0

    def read(self, limit: int) -> bytes:
        """Return what has arrived, at most `limit` bytes; empty only at the end."""
        if self.finished:
            return b""
        try:
            return self._read(limit)
        except OSError as error:
            raise ConnectionCutError from error

    def _read(self, limit: int) -> bytes:
        self._before()
        if self._chunked and not self._left:
            self._left = self._next_chunk()
            if not self._left:
                self.finished = True
                return b""
        piece = self._source.read1(min(limit, self._left))
        if not piece:
            raise ConnectionCutError
        self._left -= len(piece)
        if not self._left and self._chunked:
            self._line()
        self.finished = not self._left and not self._chunked
        return piece

    def _next_chunk(self) -> int:
        try:
            size = int(self._line().split(b";")[0], 16)
        except ValueError:  # what follows cannot be told apart any more
            raise ConnectionCutError from None
        if not size:
            while self._line():  # trailers, up to the empty line
                pass
        return size

    def _line(self) -> bytes:
        line = self._source.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionCutError
        return line.strip()
