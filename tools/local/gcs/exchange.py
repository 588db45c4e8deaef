"""One request and one answer, as the operations see them: no sockets here."""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qsl

from tools.local.gcs import partial
from tools.local.gcs.errors import ApiError, ConnectionCutError, invalid
from tools.local.gcs.faults import Fault, corrupted
from tools.local.gcs.spool import PIECE_BYTES

MAX_JSON_BYTES = 1024 * 1024


class ByteStream(Protocol):
    """The body on the connection, with its framing taken off."""

    def read(self, limit: int) -> bytes:
        """Return what has arrived, at most `limit` bytes; empty only at the end."""


class Body:
    """A request's body, read as it arrives; the place where an upload can be interrupted."""

    def __init__(self, stream: ByteStream, length: int | None, *, is_gzip: bool = False) -> None:
        self._stream = stream
        self._is_gzip = is_gzip
        self.length = None if is_gzip else length  # None: how many bytes it means is not known
        self.received = 0  # as they came over the wire
        self._stop_after: int | None = None
        self._stop: ApiError | ConnectionCutError = ConnectionCutError()

    def stop_after(self, count: int, why: ApiError | None = None) -> None:
        """Let only `count` bytes through, then cut the connection, or refuse for `why`."""
        self._stop_after, self._stop = count, why or ConnectionCutError()
        if self.received >= count:  # the bytes that came may be all there are
            raise self._stop

    def read(self, limit: int = PIECE_BYTES) -> bytes:
        """Return what has arrived, at most `limit` bytes; empty only at the end."""
        if self._stop_after is not None:
            limit = min(limit, self._stop_after - self.received)
            if limit <= 0:
                raise self._stop
        piece = self._stream.read(limit)
        self.received += len(piece)
        return piece

    def pieces(self) -> Iterator[bytes]:
        """Yield the rest of the body, without the gzip that may have been put on for the way."""
        raw = iter(self.read, b"")
        return gunzipped(raw) if self._is_gzip else raw

    def drain(self) -> None:
        """Throw the rest away, so that the connection can carry the next request."""
        self._stop_after = None
        while self.read():
            pass


@dataclass(slots=True, kw_only=True)
class Request:
    """A request being served, and what is known about it so far."""

    method: str
    path: str  # still percent-encoded
    queries: Mapping[str, list[str]]
    headers: Mapping[str, str]  # names in lower case, repeated ones joined
    body: Body
    base_url: str
    operation: str = "unknown"
    bucket: str | None = None
    name: str | None = None
    fault: Fault | None = None
    selection: partial.Selection | None = None  # what of a resource the client wants

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; the last of a repeated one counts."""
        return {key: values[-1] for key, values in self.queries.items()}

    def object_bytes(self, pieces: Iterator[bytes] | None = None) -> Iterator[bytes]:
        """Yield the object's bytes in this request, spoiled where a fault says so."""
        pieces = pieces if pieces is not None else self.body.pieces()
        return corrupted(pieces) if self.fault and self.fault.corrupt else pieces

    def data(self) -> bytes:
        """Return a small body."""
        data = bytearray()
        for piece in self.body.pieces():
            data += piece
            if len(data) > MAX_JSON_BYTES:
                raise ApiError(413, "uploadTooLarge", "The request body is too large.")
        return bytes(data)

    def json(self) -> dict[str, Any]:
        """Return a small JSON body; an absent one is an empty object."""
        return json_object(self.data())

    def form(self) -> dict[str, str]:
        """Return a small form."""
        try:
            return dict(parse_qsl(self.data().decode(), errors="strict"))
        except ValueError as error:
            raise invalid("The form is not UTF-8.") from error


@dataclass(frozen=True, slots=True)
class FileSlice:
    """A part of an open file; whoever sends it closes the file."""

    file: BinaryIO
    offset: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer. An iterator's length is unknown, so it goes out in chunks."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileSlice | Iterator[bytes] = b""


def gunzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the decompressed pieces, none of them large however well it was compressed."""
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        for piece in pieces:
            yield decompressor.decompress(piece, PIECE_BYTES)
            while rest := decompressor.unconsumed_tail:
                yield decompressor.decompress(rest, PIECE_BYTES)
    except zlib.error as error:
        raise invalid("Not gzip data.") from error
    if not decompressor.eof:
        raise invalid("The gzip data ends too early.")


def utf8_header(value: str) -> str:
    """Return a header's value, read as UTF-8 where it is UTF-8.

    `value` is what `http.server` makes of the bytes: Latin-1.
    """
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; nothing at all is an empty one."""
    try:
        value = json.loads(data or b"{}")
    except ValueError as error:
        raise ApiError(400, "parseError", "Parse Error") from error
    if not isinstance(value, dict):
        raise ApiError(400, "parseError", "Parse Error")
    return value


def json_response(
    payload: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer whose body is JSON."""
    return Response(
        status=status,
        headers={"Content-Type": "application/json; charset=UTF-8", **(headers or {})},
        body=json.dumps(payload, ensure_ascii=False).encode(),
    )


def resource_response(
    request: Request, payload: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer whose body is a resource or a list, or what `fields` selects of it."""
    if request.selection:
        payload = partial.pick(request.selection, payload)
    return json_response(payload, headers=headers)


def error_response(error: ApiError) -> Response:
    """Return a refusal in its own shape; 304 has no body."""
    if error.status == 304:  # noqa: PLR2004 - the one status that must be bare
        return Response(status=304, headers=error.headers)
    return json_response(error.payload(), status=error.status, headers=error.headers)
