"""multipart/related bodies: a part of JSON, then a part with the object's bytes.

Not Werkzeug's decoder: it reads multipart/form-data, whose parts have a Content-Disposition.
"""

import re
from collections.abc import Iterator
from typing import Any

from tools.local.gcs.errors import ApiError
from tools.local.gcs.messages import MAX_JSON_BYTES, Request, json_object

_CONTENT_TYPE = re.compile(rb"^content-type:[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


class Related:
    """An upload in one request, read up to the first of the object's bytes."""

    def __init__(self, request: Request) -> None:
        boundary = request.mimetype_params.get("boundary")
        if not boundary or not request.mimetype.startswith("multipart/"):
            raise _malformed("a multipart/related content type with a boundary is expected")
        delimiter = b"\r\n--" + boundary.encode()
        self._chunks = request.chunks()
        self._end = delimiter + b"--"
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter is like any other
        self._until(delimiter + b"\r\n")
        self._headers()
        self.resource: dict[str, Any] = json_object(self._until(delimiter + b"\r\n"))
        found = _CONTENT_TYPE.search(self._headers())
        self.content_type = found[1].decode(errors="replace") if found else None

    def chunks(self) -> Iterator[bytes]:
        """Yield the object's bytes; a body without its closing delimiter is refused."""
        while (end := self._buffer.find(self._end)) < 0:
            ready = len(self._buffer) - len(self._end) + 1  # the rest can begin the delimiter
            if ready > 0:
                yield bytes(self._buffer[:ready])
                del self._buffer[:ready]
            self._more()
        yield bytes(self._buffer[:end])
        for _ in self._chunks:  # so that the end of a compressed body is checked, too
            pass

    def _headers(self) -> bytes:
        """Take a part's headers, of which there may be none."""
        self._buffer[:0] = b"\r\n"
        return self._until(b"\r\n\r\n")

    def _until(self, mark: bytes) -> bytes:
        """Take the bytes before `mark`, and drop the mark."""
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > MAX_JSON_BYTES:
                raise _malformed("no object resource in its first part")
            self._more()
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return taken

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise _malformed("the closing delimiter is missing")
        self._buffer += chunk


def _malformed(why: str) -> ApiError:
    return ApiError(400, "badContent", f"Malformed multipart body: {why}.")
