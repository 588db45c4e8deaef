"""Downloads, of a whole object or of a range.

Content is never decompressed, which GCS does with gzip for a client that does not accept it.
"""

from collections.abc import Iterator
from typing import BinaryIO

from werkzeug.datastructures import Range

from tools.local.gcs.errors import ApiError
from tools.local.gcs.messages import Request, Response
from tools.local.gcs.spool import CHUNK_BYTES
from tools.local.gcs.store import StoredObject


def response(request: Request, stored: StoredObject, file: BinaryIO) -> Response:
    """Return the response to `alt=media`; closing it closes the file."""
    found = Response(headers=_headers(stored), direct_passthrough=True)
    found.call_on_close(file.close)
    first, end, size = 0, stored.content.size, stored.content.size
    asked = request.range
    if asked and asked.units == "bytes" and len(asked.ranges) == 1:
        first, end = _span(asked, size)
        if first >= end:
            found.close()
            headers = {"Content-Range": f"bytes */{size}"}
            message = "Request range not satisfiable"
            raise ApiError(416, "requestedRangeNotSatisfiable", message, headers)
        found.status_code = 206
        found.headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    found.headers["Content-Length"] = str(end - first)
    found.response = _slice(file, first, end)
    return found


def _headers(stored: StoredObject) -> dict[str, str]:
    fields = stored.fields
    optional = {
        "Content-Disposition": fields.get("contentDisposition"),
        "Content-Encoding": fields.get("contentEncoding"),
        "Content-Language": fields.get("contentLanguage"),
        "Cache-Control": fields.get("cacheControl"),
    }
    return {
        "Accept-Ranges": "bytes",
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


def _span(asked: Range, size: int) -> tuple[int, int]:
    """Return the first byte of a range and its end, which may lie before it."""
    first, end = asked.ranges[0]
    if first < 0:  # the last bytes; Werkzeug would refuse more of them than there are
        first = max(size + first, 0)
    return first, size if end is None else min(end, size)


def _slice(file: BinaryIO, first: int, end: int) -> Iterator[bytes]:
    file.seek(first)
    while first < end and (chunk := file.read(min(CHUNK_BYTES, end - first))):
        first += len(chunk)
        yield chunk
