"""The decision: compare what both sides hold and plan the next step. Pure functions."""

import base64
from dataclasses import dataclass
from enum import StrEnum

from replicate.errors import DestinationForeignError, ObjectTooLargeError, SourceArchivedError
from replicate.protocol import mapping
from replicate.protocol.evidence import HINT, Deletes, Evidence
from replicate.protocol.mapping import Fit, Tags
from replicate.protocol.model import (
    ABSENT,
    Attributes,
    CopyReason,
    EtagKind,
    NoWriteReason,
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
    OWN = "own"
    """It is overwritten if it is a replica of this very object. Otherwise the run fails."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user wants to be replicated."""

    overwrite: Overwrite = Overwrite.CHANGED
    deletes: Deletes = Deletes.NONE
    tags: Tags = Tags.OFF


@dataclass(frozen=True, slots=True)
class Copy:
    """Write the bytes of `source` with `attributes`. `reason` says what they replace."""

    source: SourceObject
    attributes: Attributes
    precondition: Precondition
    reason: CopyReason = Reason.CREATED


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

    reason: NoWriteReason
    fields_dropped: tuple[str, ...] = ()


Plan = Copy | Patch | Delete | Done


def decide(
    ref: SourceRef,
    source: SourceObject | None,
    replica: Replica | None,
    policy: Policy,
    evidence: Evidence = HINT,
) -> Plan:
    """Plan the step that makes `replica` equal `source`.

    `evidence` counts only when the source is gone. Raise ObjectTooLargeError,
    SourceArchivedError, DestinationForeignError.
    """
    if source is None:
        if replica and _may_delete(ref, replica, policy, evidence):
            return Delete(replica)
        return Done(Reason.SOURCE_GONE)
    reason = reason_to_write(ref, replica)
    fit = mapping.fit(source, policy.tags)
    if replica and (step := _keep(ref, source, replica, policy, fit)):
        return step
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
    precondition = Precondition.unchanged(replica) if replica else ABSENT
    return Copy(source, fit.attributes, precondition, reason)


def _keep(
    ref: SourceRef, source: SourceObject, replica: Replica, policy: Policy, fit: Fit
) -> Done | Patch | None:
    """Plan the step that keeps the bytes of `replica`; None if others must be written.

    Raise DestinationForeignError.
    """
    if policy.overwrite is Overwrite.NEVER:
        return Done(Reason.EXISTS, fit.dropped)
    if policy.overwrite is Overwrite.OWN:
        _require_own(ref, replica)
    if replica.size != source.size or _checksums_differ(source, replica):
        return None
    if replica.attributes == fit.attributes:  # they include the provenance
        return Done(Reason.CURRENT, fit.dropped)
    if _same_bytes(source, replica) and _can_patch(replica, fit.attributes):
        return Patch(fit.attributes, replica)
    return None


def reason_to_write(ref: SourceRef, replaced: Replica | None) -> CopyReason:
    """Return the reason of a write that replaces `replaced`."""
    if replaced is None:
        return Reason.CREATED
    is_replica = mapping.is_replica_of(replaced.attributes.metadata, ref)
    return Reason.OVERWRITTEN if is_replica else Reason.FOREIGN_OVERWRITTEN


def _may_delete(ref: SourceRef, replica: Replica, policy: Policy, evidence: Evidence) -> bool:
    shown = replica.attributes
    return mapping.is_replica_of(shown.metadata, ref) and evidence.permits_deletion(
        policy.deletes, shown.custom_time
    )


def _require_own(ref: SourceRef, replica: Replica) -> None:
    if not mapping.is_replica_of(replica.attributes.metadata, ref):
        raise DestinationForeignError(
            f"The object {replica.name} in GCS is not a replica of {ref.uri}, and Overwrite=own"
            " keeps it. Delete it, or give the replica its own bucket or prefix."
        )


def _checksums_differ(source: SourceObject, replica: Replica) -> bool:
    """Return whether a checksum that both sides state proves that the bytes differ.

    The provenance says which version was copied. It says nothing about what others did since, or
    about an object that has the metadata of a replica and other bytes.
    """
    crc32c = [
        checksum.value
        for checksum in source.checksums
        if checksum.algorithm == "CRC32C" and not checksum.composite
    ]
    if crc32c and crc32c[0] != replica.crc32c:
        return True
    return md5_differs(source, replica)


def md5_differs(source: SourceObject, replica: Replica) -> bool:
    """Return whether GCS's MD5 is not the ETag, where that should be one."""
    if source.etag_kind is not EtagKind.MD5 or replica.md5 is None:
        return False
    return base64.b64decode(replica.md5).hex() != source.etag


def _same_bytes(source: SourceObject, replica: Replica) -> bool:
    """Return whether both sides certainly hold the same bytes.

    A new ETag comes with every new content in S3. So the ETag in the provenance identifies the
    bytes of a replica. An object of other origin is identified by its MD5, if both sides have one.
    Sizes and stated checksums have been compared before.
    """
    metadata = replica.attributes.metadata
    if mapping.is_replica_of(metadata, source.ref):
        return metadata.get(mapping.PROVENANCE + "etag") == source.etag
    return source.etag_kind is EtagKind.MD5 and replica.md5 is not None  # and they do not differ


def _can_patch(replica: Replica, attributes: Attributes) -> bool:
    """Return whether GCS accepts the patch. It never clears a custom time or moves it back."""
    current = replica.attributes.custom_time
    if current is None:
        return True
    return attributes.custom_time is not None and attributes.custom_time >= current
