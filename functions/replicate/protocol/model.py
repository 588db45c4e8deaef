"""The values that all modules share: objects of S3, replicas in GCS, expectations and results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Literal, Self


@dataclass(frozen=True, slots=True)
class SourceRef:
    """Where an object is in S3. The key is decoded: it is the name that the user gave."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """The address as AWS writes it, `s3://bucket/key`. The key is not URL-encoded."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum that S3 stores, in base64.

    A composite one is computed over the checksums of N parts. Its value ends in `-N`.
    """

    algorithm: str
    value: str
    composite: bool = False


ARCHIVE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes of S3 whose objects cannot be read before they are restored."""


MIN_DURATION_DAYS = {"NEARLINE": 30, "COLDLINE": 90, "ARCHIVE": 365}
"""Days for which GCS bills an object at least. Source: "Storage classes" in GCS's documentation."""


class EtagKind(Enum):
    """What an ETag of S3 says about the bytes."""

    OPAQUE = auto()
    """Nothing: it names a version."""
    MD5 = auto()
    """Their MD5, in hexadecimal digits."""
    MD5_OF_PARTS = auto()
    """The MD5 over the MD5s of the N parts of a multipart upload, followed by `-N`."""


@dataclass(frozen=True, slots=True)
class PartLayout:
    """How a multipart upload was split: `count` parts of `size` bytes; the last may be smaller."""

    count: int
    size: int


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` to before `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceObject:
    """One version of an S3 object, as the response headers of HEAD or GET describe it.

    `size` is in bytes. `etag` has no quotes.
    """

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
    metadata_missing: int = 0
    """Entries of user metadata that S3 cannot send in a header."""
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = "STANDARD"
    checksums: tuple[Checksum, ...] = ()
    etag_kind: EtagKind = EtagKind.OPAQUE
    is_archived: bool = field(default=False, compare=False)
    """Its bytes cannot be read before it is restored."""
    request_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """All attributes of a replica besides its bytes. `metadata` includes the provenance."""

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
    """A GCS object at one generation. `size` is in bytes.

    `crc32c` and `md5` are in base64. Composed objects have no MD5.
    """

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
    """The state that a write requires. Generation 0 requires that there is no live object."""

    generation: int
    metageneration: int | None = None

    @classmethod
    def unchanged(cls, replica: Replica) -> "Precondition":
        """Require the object that was read, with the metadata that it had."""
        return cls(replica.generation, replica.metageneration)


ABSENT = Precondition(0)
"""There is no object."""


class Expectation(Enum):
    """What an event lets us expect of the source. It saves requests and decides nothing."""

    UNKNOWN = auto()
    """Read the metadata of both sides first."""
    CHANGED = auto()
    """Open the source at once, without a HEAD: probably there are bytes to copy."""
    NEW = auto()
    """Also write without reading the destination, on the condition that no object exists."""


class Status(StrEnum):
    """How a change ended."""

    REPLICATED = "replicated"
    SKIPPED = "skipped"
    DELETED = "deleted"
    IN_PROGRESS = "in_progress"


class Reason(StrEnum):
    """Why a change ended so: the last write to the replica, or why no write was needed."""

    status: Status

    CREATED = "created", Status.REPLICATED
    OVERWRITTEN = "overwritten", Status.REPLICATED
    FOREIGN_OVERWRITTEN = "foreign_overwritten", Status.REPLICATED
    METADATA_UPDATED = "metadata_updated", Status.REPLICATED
    DELETED = "deleted", Status.DELETED
    CURRENT = "current", Status.SKIPPED
    EXISTS = "exists", Status.SKIPPED
    SUPERSEDED = "superseded", Status.SKIPPED
    SOURCE_GONE = "source_gone", Status.SKIPPED
    STARTED = "started", Status.IN_PROGRESS
    RUNNING = "running", Status.IN_PROGRESS

    def __new__(cls, value: str, status: Status) -> Self:
        self = str.__new__(cls, value)
        self._value_ = value
        self.status = status
        return self


CopyReason = Literal[Reason.CREATED, Reason.OVERWRITTEN, Reason.FOREIGN_OVERWRITTEN]
"""What a copy replaces: nothing, a replica of the object, or any other object."""

WriteReason = CopyReason | Literal[Reason.METADATA_UPDATED, Reason.DELETED]

NoWriteReason = Literal[Reason.CURRENT, Reason.EXISTS, Reason.SOURCE_GONE]

HandOverReason = Literal[Reason.STARTED, Reason.RUNNING]


@dataclass(frozen=True, slots=True)
class VerifiedBy:
    """The check that proved the bytes on either side, or `unchecked: why`."""

    source: str
    destination: str


BY_FINGERPRINT = VerifiedBy(source="fingerprint", destination="fingerprint")
"""No bytes were read: both sides were compared by their descriptions."""


@dataclass(frozen=True, slots=True)
class Copied:
    """An object that was copied, the source's checksum that verified it, and the bytes sent."""

    replica: Replica
    verified_by: str
    bytes_sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one change ended, and the state of both sides that it leaves behind."""

    ref: SourceRef
    uri: str
    """Where the replica is or would be: `gs://bucket/name`."""
    reason: Reason
    source: SourceObject | None
    replica: Replica | None
    bytes_copied: int = 0
    """Bytes written to GCS by this run; more than the object's size if a race was lost."""
    bytes_sent: int = 0
    """Bytes that these took on their way: fewer if they travelled compressed.

    With those of compressed requests that were repeated, and of a compressed stream that this run
    copied again after a lost race. Those of failed runs and of parts that were swept are missing.
    """
    verified_by: VerifiedBy
    fields_dropped: tuple[str, ...] = ()
    """Metadata of the source that GCS cannot hold and the replica does not have, by name."""
    elapsed_s: float = 0.0
    execution: str | None = None
    """Name of the execution that copies the object, if one does."""

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly a change in progress has an execution."""
        if (self.reason.status is Status.IN_PROGRESS) != (self.execution is not None):
            raise ValueError(f"{self.reason} by execution {self.execution}")
