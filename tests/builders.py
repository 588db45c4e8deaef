"""Builders of complete values. A test passes only the fields that matter to it."""

from datetime import UTC, datetime
from typing import Any

from replicate.protocol import mapping
from replicate.protocol.model import Replica, SourceObject, SourceRef

REF = SourceRef("source", "key")
MODIFIED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def make_source(**fields: Any) -> SourceObject:  # noqa: ANN401 - any of SourceObject's fields
    """Return a version of s3://source/key."""
    defaults: dict[str, Any] = {
        "ref": REF,
        "etag": "5d41402abc4b2a76b9719d911017c592",
        "size": 5,
        "last_modified": MODIFIED,
        "content_type": "text/plain",
    }
    return SourceObject(**(defaults | fields))


def make_replica(source: SourceObject | None = None, **fields: Any) -> Replica:  # noqa: ANN401
    """Return an object in GCS that is a replica of `source`."""
    source = source or make_source()
    defaults: dict[str, Any] = {
        "name": source.ref.key,
        "generation": 7,
        "metageneration": 1,
        "size": source.size,
        "attributes": mapping.attributes(source),
        "crc32c": "mnG7TA==",
        "md5": "XUFAKrxLKna5cZ2REBfFkg==",
    }
    return Replica(**(defaults | fields))
