"""What is to be done, decided from what both sides hold. A pure function of values."""

import base64
from dataclasses import dataclass
from enum import StrEnum

from replicate.errors import ObjectTooLargeError
from replicate.protocol import mapping
from replicate.protocol.mapping import Tags
from replicate.protocol.model import (
    Attributes,
    Precondition,
    Reason,
    Replica,
    SourceObject,
    SourceRef,
)

MAX_SIZE = 5 * 1024**4
"""Bytes; GCS holds no larger object."""


class Overwrite(StrEnum):
    """What happens to a destination object that differs."""

    CHANGED = "changed"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user wants kept equal."""

    overwrite: Overwrite = Overwrite.CHANGED
    deletes: bool = False
    tags: Tags = Tags.OFF


@dataclass(frozen=True, slots=True)
class Copy:
    """Write the source's bytes."""

    source: SourceObject
    precondition: Precondition


@dataclass(frozen=True, slots=True)
class Patch:
    """The bytes are there: replace what is said about them."""

    source: SourceObject
    replica: Replica


@dataclass(frozen=True, slots=True)
class Delete:
    """The source is gone: so goes its replica."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is to be done."""

    reason: Reason


Plan = Copy | Patch | Delete | Done


def decide(
    ref: SourceRef, source: SourceObject | None, replica: Replica | None, policy: Policy
) -> Plan:
    """Compare both sides. Raises ObjectTooLargeError."""
    if source is None:
        if replica and policy.deletes and mapping.is_replica_of(replica.attributes.metadata, ref):
            return Delete(replica)
        return Done(Reason.SOURCE_GONE)
    if replica and policy.overwrite is Overwrite.NEVER:
        return Done(Reason.EXISTS)
    wanted = mapping.attributes(source, policy.tags)
    if replica and replica.size == source.size and replica.attributes == wanted:
        return Done(Reason.CURRENT)  # the provenance is among the attributes
    if replica and _same_bytes(source, replica) and _can_become(wanted, replica.attributes):
        return Patch(source, replica)
    if source.size > MAX_SIZE:
        raise ObjectTooLargeError(
            f"{ref.uri} has {source.size} bytes; GCS holds at most {MAX_SIZE} (5 TiB) an object."
        )
    return Copy(source, Precondition.unchanged(replica))


def _same_bytes(source: SourceObject, replica: Replica) -> bool:
    """Whether both hold the same bytes for certain.

    An S3 ETag changes whenever the content does, so the one kept in the provenance settles it. An
    object of other origin is recognised by its MD5, where both sides have one.
    """
    if source.size != replica.size:
        return False
    metadata = replica.attributes.metadata
    if mapping.is_replica_of(metadata, source.ref):
        return metadata.get(mapping.PROVENANCE + "etag") == source.etag
    return source.etag_is_md5 and replica.md5 is not None and _hex(replica.md5) == source.etag


def _can_become(wanted: Attributes, current: Attributes) -> bool:
    """Whether GCS lets attributes be replaced: a custom time is never cleared or set back."""
    if current.custom_time is None:
        return True
    return wanted.custom_time is not None and wanted.custom_time >= current.custom_time


def _hex(base64_digest: str) -> str:
    return base64.b64decode(base64_digest).hex()
