"""The decision: compare what both sides hold and plan the next step. Pure functions."""

import base64
from dataclasses import dataclass
from enum import StrEnum

from replicate.errors import ObjectTooLargeError, SourceArchivedError
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
"""Bytes. GCS does not hold a larger object."""


class Overwrite(StrEnum):
    """What happens to a GCS object that differs from the source."""

    CHANGED = "changed"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user wants to be replicated."""

    overwrite: Overwrite = Overwrite.CHANGED
    deletes: bool = False
    tags: Tags = Tags.OFF


@dataclass(frozen=True, slots=True)
class Copy:
    """Write the bytes of `source` with `attributes`."""

    source: SourceObject
    attributes: Attributes
    precondition: Precondition


@dataclass(frozen=True, slots=True)
class Patch:
    """Replace the attributes of `replica`: it has the bytes already."""

    attributes: Attributes
    replica: Replica


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete `replica`: its source is gone."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class Done:
    """Write nothing. `fields_dropped` names metadata of the source that GCS cannot hold."""

    reason: Reason
    fields_dropped: tuple[str, ...] = ()


Plan = Copy | Patch | Delete | Done


def decide(
    ref: SourceRef, source: SourceObject | None, replica: Replica | None, policy: Policy
) -> Plan:
    """Plan the step that makes `replica` equal `source`.

    Raise ObjectTooLargeError, SourceArchivedError.
    """
    if source is None:
        if replica and policy.deletes and mapping.is_replica_of(replica.attributes.metadata, ref):
            return Delete(replica)
        return Done(Reason.SOURCE_GONE)
    fit = mapping.fit(source, policy.tags)
    if replica and policy.overwrite is Overwrite.NEVER:
        return Done(Reason.EXISTS, fit.dropped)
    if replica and replica.size == source.size and replica.attributes == fit.attributes:
        return Done(Reason.CURRENT, fit.dropped)  # the attributes include the provenance
    if replica and _same_bytes(source, replica) and _can_patch(replica, fit.attributes):
        return Patch(fit.attributes, replica)
    if source.size > MAX_SIZE:
        raise ObjectTooLargeError(
            f"{ref.uri} has {source.size} bytes, and GCS holds at most {MAX_SIZE} (5 TiB) in an"
            " object. Split the object, or leave it out of the notifications."
        )
    if source.is_archived:
        raise SourceArchivedError(
            f"{ref.uri} is archived. Restore it (aws s3api restore-object), then try again. If the"
            " bucket sends its events to the function, the completed restore replicates the object."
        )
    return Copy(source, fit.attributes, Precondition.unchanged(replica))


def _same_bytes(source: SourceObject, replica: Replica) -> bool:
    """Return whether both sides certainly hold the same bytes.

    A new ETag comes with every new content in S3. So the ETag in the provenance identifies the
    bytes of a replica. An object of other origin is identified by its MD5, if both sides have one.
    """
    if source.size != replica.size:
        return False
    metadata = replica.attributes.metadata
    if mapping.is_replica_of(metadata, source.ref):
        return metadata.get(mapping.PROVENANCE + "etag") == source.etag
    return source.etag_is_md5 and replica.md5 is not None and _hex(replica.md5) == source.etag


def _can_patch(replica: Replica, attributes: Attributes) -> bool:
    """Return whether GCS accepts the patch. It never clears a custom time or moves it back."""
    current = replica.attributes.custom_time
    if current is None:
        return True
    return attributes.custom_time is not None and attributes.custom_time >= current


def _hex(base64_digest: str) -> str:
    return base64.b64decode(base64_digest).hex()
