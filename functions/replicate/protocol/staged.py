"""Staged objects: the work for one version, and what its staged objects say about themselves."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from replicate.protocol.checksums import RangeChecksum
from replicate.protocol.model import Attributes, Replica, SourceObject, Span
from replicate.protocol.parts import MAX_COMPONENTS, Cut, StagedNames

RANGE = "s3-staged-range"
"""Custom metadata of a staged object: the bytes of the source that it holds, `start-end`."""

RECORD = "s3-staged-checksum"
"""Custom metadata of a staged object: the checksum record of its bytes, in base64."""

SENT = "s3-staged-sent"
"""Custom metadata of a staged object that travelled compressed, whole or in part: bytes sent."""

MAX_RECORD_BYTES = 7 * 1024
"""GCS accepts 8 KiB of custom metadata. Source: "Cloud Storage quotas and limits"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One version that is copied in parts."""

    source: SourceObject
    names: StagedNames
    checksum: RangeChecksum | None
    is_large: bool
    """An execution is to copy it."""

    @property
    def cut(self) -> Cut:
        """How the version is split."""
        return self.names.cut

    @property
    def storage_class(self) -> str | None:
        """The class of the staged objects and of the replica; None for that of the bucket."""
        return self.names.storage_class

    @property
    def needs_record(self) -> bool:
        """Whether a staged object has a record in its metadata. GCS itself has the CRC32C."""
        return self.checksum is not None and self.checksum.name != "crc32c"

    def is_held_by(self, staged: Replica, span: Span) -> bool:
        """Return whether a staged object holds a range completely, with its checksum."""
        metadata = staged.attributes.metadata
        return (
            staged.size == span.size
            and metadata.get(RANGE) == f"{span.start}-{span.end}"
            and (RECORD in metadata or not self.needs_record)
        )

    def records(self, staged: Sequence[Replica]) -> list[tuple[bytes, int]]:
        """Return the checksum record and the size in bytes of each staged object."""
        if not self.needs_record:
            return [(base64.b64decode(each.crc32c), each.size) for each in staged]
        return [(base64.b64decode(each.attributes.metadata[RECORD]), each.size) for each in staged]


def record_fits(checksum: RangeChecksum, cut: Cut) -> bool:
    """Return whether the record of the largest staged object fits into its custom metadata.

    For a checksum over S3's parts that record holds one digest for each of these parts.
    """
    if checksum.layout is None:
        return True
    parts = cut.parts_per_slice * (MAX_COMPONENTS if cut.slices > MAX_COMPONENTS else 1)
    largest = cut.part_size * (parts if cut.slices > 1 else 1)
    digests = -(-largest // checksum.layout.size)
    return digests * len(checksum.digest) * 4 // 3 <= MAX_RECORD_BYTES


def bytes_sent(nodes: Sequence[Replica]) -> int:
    """Return how many bytes were sent for staged objects: those of a plain one are its size."""
    return sum(int(node.attributes.metadata.get(SENT, node.size)) for node in nodes)


def describe(span: Span | None = None, record: bytes = b"", sent: int | None = None) -> Attributes:
    """Describe a staged object. Without a span it is not known to be right."""
    metadata: dict[str, str] = {}
    if span:
        metadata[RANGE] = f"{span.start}-{span.end}"
    if record:
        metadata[RECORD] = base64.b64encode(record).decode()
    if span and sent not in {None, span.size}:
        metadata[SENT] = str(sent)
    return Attributes(
        content_type="application/octet-stream",
        cache_control=None,
        content_disposition=None,
        content_encoding=None,
        content_language=None,
        custom_time=None,
        metadata=metadata,
    )
