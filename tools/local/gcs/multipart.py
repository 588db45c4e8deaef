"""multipart/related bodies: one JSON part, then one part of bytes that is never interpreted."""

import re
from collections.abc import Iterator
from typing import Any

from tools.local.gcs.errors import ApiError
from tools.local.gcs.exchange import MAX_JSON_BYTES, Body, json_object, utf8_header

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_CONTENT_TYPE = re.compile(rb"^content-type:[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


class Related:
    """An upload in one request, read as far as the first of the object's bytes."""

    def __init__(self, content_type: str, body: Body) -> None:
        match = _BOUNDARY.search(content_type)
        if not match or not content_type.lower().startswith("multipart/"):
            raise _malformed("a multipart/related content type with a boundary is expected")
        delimiter = b"\r\n--" + (match[1] or match[2]).encode("latin-1")
        self._pieces = body.pieces()
        self._end = delimiter + b"--"
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter is like any other
        self._until(delimiter + b"\r\n")
        self._headers()
        self.resource: dict[str, Any] = json_object(self._until(delimiter + b"\r\n"))
        found = _CONTENT_TYPE.search(self._headers())
        self.content_type = utf8_header(found[1].decode("latin-1")) if found else None

    def pieces(self) -> Iterator[bytes]:
        """Yield the object's bytes; a body without its closing delimiter is refused."""
        keep = len(self._end) - 1  # may be the beginning of the delimiter
        while (end := self._buffer.find(self._end)) < 0:
            ready = len(self._buffer) - keep
            if ready > 0:
                yield bytes(self._buffer[:ready])
                del self._buffer[:ready]
            self._more()
        yield bytes(self._buffer[:end])

    def _headers(self) -> bytes:
        """Take a part's headers, of which there may be none."""
        self._buffer[:0] = b"\r\n"
        return self._until(b"\r\n\r\n")

    def _until(self, mark: bytes) -> bytes:
        """Take everything before `mark`, and the mark with it."""
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > MAX_JSON_BYTES:
                raise _malformed("no object resource in its first part")
            self._more()
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return taken

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise _malformed("the closing delimiter is missing")
        self._buffer += piece


def _malformed(why: str) -> ApiError:
    return ApiError(400, "badContent", f"Malformed multipart body: {why}.")
