"""An object's bytes on their way out: ranges, and gzip decompressed for whoever cannot take it."""

import re
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from tools.local.gcs.errors import ApiError
from tools.local.gcs.exchange import FileSlice, Request, Response, gunzipped
from tools.local.gcs.spool import PIECE_BYTES
from tools.local.gcs.store import StoredObject

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def answer(request: Request, stored: StoredObject, file: BinaryIO) -> Response:
    """Answer `alt=media`; the answer owns the file."""
    headers = _headers(stored)
    if _is_transcoded(request, stored):
        headers["Warning"] = '214 UploadServer "gunzipped"'
        return Response(headers=headers, body=_decompressed(file))
    if encoding := stored.fields.get("contentEncoding"):
        headers["Content-Encoding"] = encoding
    headers["Accept-Ranges"] = "bytes"
    size = stored.content.size
    span = _span(request.headers.get("range"), size)
    if span is None:
        return Response(headers=headers, body=FileSlice(file, 0, size))
    first, end = span
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    return Response(status=206, headers=headers, body=FileSlice(file, first, end - first))


def _headers(stored: StoredObject) -> dict[str, str]:
    fields = stored.fields
    optional = {
        "Content-Disposition": fields.get("contentDisposition"),
        "Content-Language": fields.get("contentLanguage"),
        "Cache-Control": fields.get("cacheControl"),
    }
    return {
        "Content-Type": fields.get("contentType", "application/octet-stream"),
        "ETag": stored.etag,
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Hash": stored.content.goog_hash(),
        "X-Goog-Storage-Class": fields["storageClass"],
        "X-Goog-Stored-Content-Encoding": fields.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": str(stored.content.size),
        **{key: value for key, value in optional.items() if value},
    }


def _is_transcoded(request: Request, stored: StoredObject) -> bool:
    """Say whether the client gets gzip data decompressed."""
    return (
        stored.fields.get("contentEncoding") == "gzip"
        and "gzip" not in request.headers.get("accept-encoding", "").lower()
        and "no-transform" not in stored.fields.get("cacheControl", "").lower()
    )


def _decompressed(file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield from gunzipped(iter(partial(file.read, PIECE_BYTES), b""))


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the end of a Range; a header of another kind is ignored."""
    match = _RANGE.fullmatch(header or "")
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first:
        begin, end = int(first), min(int(last) + 1 if last else size, size)
    else:
        begin, end = max(size - int(last), 0), size
    if begin >= end:
        raise ApiError(
            416,
            "requestedRangeNotSatisfiable",
            "Request range not satisfiable",
            {"Content-Range": f"bytes */{size}"},
        )
    return begin, end
