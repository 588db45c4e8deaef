"""The rows of both listings.

Named tuples, not frozen dataclasses: a million pairs of rows take 0.9 s of CPU less to build.
"""

from collections.abc import Mapping
from typing import NamedTuple


class SourceRow(NamedTuple):
    """An S3 object as ListObjectsV2 describes it."""

    key: str
    etag: str
    """Without quotes."""
    size: int
    """In bytes."""
    last_modified: str
    """In UTC and seconds, as the provenance spells it: `2026-01-01T00:00:00Z`."""
    storage_class: str = "STANDARD"


class ReplicaRow(NamedTuple):
    """A GCS object as `objects.list` describes it."""

    key: str
    """The name without GCS_KEY_PREFIX."""
    size: int
    """In bytes."""
    generation: str
    updated: str
    """In UTC, RFC 3339, as GCS spells it."""
    metadata: Mapping[str, str]
    md5: str | None = None
    """In base64. Composed objects have none."""


Pair = tuple[SourceRow | None, ReplicaRow | None]
"""The two rows of one key. One of them may be missing."""
