"""Downloads of a whole object. GCS serves ranges, too; no client here requests one.

Content is never decompressed, which GCS does with gzip for a client that does not accept it.
"""

from functools import partial
from typing import BinaryIO

from tools.local.gcs.messages import Response
from tools.local.gcs.spool import CHUNK_BYTES
from tools.local.gcs.store import StoredObject


def response(stored: StoredObject, file: BinaryIO) -> Response:
    """Return the response to `alt=media`; closing it closes the file."""
    fields, content = stored.fields, stored.content
    optional = {
        "Content-Disposition": fields.get("contentDisposition"),
        "Content-Encoding": fields.get("contentEncoding"),
        "Content-Language": fields.get("contentLanguage"),
        "Cache-Control": fields.get("cacheControl"),
    }
    headers = {
        "Content-Length": str(content.size),
        "Content-Type": fields.get("contentType", "application/octet-stream"),
        "ETag": stored.etag,
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Hash": content.goog_hash(),
        "X-Goog-Storage-Class": fields["storageClass"],
        "X-Goog-Stored-Content-Encoding": fields.get("contentEncoding", "identity"),
        **{name: value for name, value in optional.items() if value},
    }
    chunks = iter(partial(file.read, CHUNK_BYTES), b"")
    found = Response(chunks, headers=headers, direct_passthrough=True)
    found.call_on_close(file.close)
    return found
