"""The words everybody here speaks: what S3 has, what GCS has, and what was done about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class SourceRef:
    """Where an object is in S3. The key is decoded: exactly what the user called it."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON can spell halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum S3 keeps: base64; a composite one is that of N parts' checksums, ending in -N."""

    algorithm: str
    value: str
    composite: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """How a multipart upload was cut: all parts of `size` bytes, but for the last."""

    count: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceObject:
    """One version of an S3 object, as a HEAD or GET describes it. Source: response headers."""

    ref: SourceRef
    etag: str
    size: int
    last_modified: datetime
    version_id: str | None = None
    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = "STANDARD"
    checksums: tuple[Checksum, ...] = ()
    etag_is_md5: bool = False
    etag_is_md5_of_parts: bool = False
    request_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """All that is said about a replica besides its bytes; the provenance is part of `metadata`."""

    content_type: str | None
    cache_control: str | None
    content_disposition: str | None
    content_encoding: str | None
    content_language: str | None
    custom_time: datetime | None
    metadata: Mapping[str, str]
    contexts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A GCS object at one generation. `crc32c`, `md5`: base64; composed objects have no MD5."""

    name: str
    generation: int
    metageneration: int
    size: int
    attributes: Attributes
    crc32c: str
    md5: str | None = None
    request_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Precondition:
    """The state a write is based on; generation 0 means that there must be no object."""

    generation: int
    metageneration: int | None = None

    @classmethod
    def unchanged(cls, replica: Replica | None) -> "Precondition":
        return cls(replica.generation, replica.metageneration) if replica else cls(0)


class Status(StrEnum):
    """What became of a change."""

    REPLICATED = "replicated"
    SKIPPED = "skipped"
    DELETED = "deleted"


class Reason(StrEnum):
    """Why it became that."""

    CREATED = "created"
    OVERWRITTEN = "overwritten"
    METADATA_UPDATED = "metadata_updated"
    DELETED = "deleted"
    CURRENT = "current"
    EXISTS = "exists"
    SOURCE_GONE = "source_gone"


@dataclass(frozen=True, slots=True)
class VerifiedBy:
    """What proved that the replica is the source: the check on either side, or `unchecked: why`."""

    source: str
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run ended with: the state of both sides that it leaves behind."""

    ref: SourceRef
    name: str
    status: Status
    reason: Reason
    source: SourceObject | None
    replica: Replica | None
    bytes_copied: int = 0
    verified_by: VerifiedBy
    fields_dropped: tuple[str, ...] = ()
    """Names of what the source says about itself and GCS cannot hold: it is left out."""
