"""Values for tests: all there, and only what a test cares about is said."""

from datetime import UTC, datetime
from typing import Any

from replicate.protocol import mapping
from replicate.protocol.model import Replica, SourceObject, SourceRef

REF = SourceRef("source", "key")
MODIFIED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def a_source(**said: Any) -> SourceObject:  # noqa: ANN401 - any of SourceObject's fields
    """A version of s3://source/key."""
    fields: dict[str, Any] = {
        "ref": REF,
        "etag": "5d41402abc4b2a76b9719d911017c592",
        "size": 5,
        "last_modified": MODIFIED,
        "content_type": "text/plain",
    }
    return SourceObject(**(fields | said))


def a_replica(source: SourceObject | None = None, **said: Any) -> Replica:  # noqa: ANN401
    """An object in GCS that is a replica of `source`."""
    source = source or a_source()
    fields: dict[str, Any] = {
        "name": source.ref.key,
        "generation": 7,
        "metageneration": 1,
        "size": source.size,
        "attributes": mapping.attributes(source),
        "crc32c": "mnG7TA==",
        "md5": "XUFAKrxLKna5cZ2REBfFkg==",
    }
    return Replica(**(fields | said))
