"""The promises about one object, as checks. They do not use the code of the protocol.

The source is given as its past: its state at first, and after each change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum

from fakes import Pinned, StoredObject

from replicate.protocol.evidence import Deletes
from replicate.protocol.plan import Overwrite, Policy

BUCKET = "source"

Past = Sequence[Pinned | None]


class Promise(StrEnum):
    """A property that holds in every state of every schedule."""

    WHOLE = "the destination shows one whole version that the source has had"
    FORWARD = "no version is ever replaced by an older one"
    EQUAL = "when all runs have finished, the destination equals the source"
    FOREIGN_KEPT = "only replicas are deleted, and only when deletes are replicated"
    KEPT = "what no user deleted stays, unless the run that deletes it has just created it"
    NOT_OVERWRITTEN = "overwrite=never replaces nothing, overwrite=own only replicas"
    SUCCESS = "no run fails by itself"
    END = "every run ends"
    WATCHED = "while an execution runs, a message waits that runs the key again"
    TIDY = "no staged object is left, but those of executions that were stopped or failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """The settings that the promises depend on."""

    deletes: bool
    overwrite: Overwrite
    leaves_extra: bool = False
    """Whether the replica of a source that is gone may stay, because a run crashed."""

    @classmethod
    def of(cls, policy: Policy, *, leaves_extra: bool = False) -> "Requirements":
        return cls(
            deletes=policy.deletes is not Deletes.NONE,
            overwrite=policy.overwrite,
            leaves_extra=leaves_extra,
        )


def equals_source(
    past: Past,
    shown: StoredObject | None,
    requirements: Requirements,
    *,
    must_be_gone: bool = True,
) -> bool:
    """Return whether the destination equals the newest state of the source.

    `must_be_gone` tells whether the replica of a source that is gone must be gone, too: not if a
    lifecycle rule deleted the source, and only deletions by users are replicated.
    """
    source = past[-1]
    if source is None:
        if not must_be_gone or requirements.leaves_extra:
            return True
        return not (requirements.deletes and shown and is_replica(shown))
    if shown is None:
        return False
    return shows(shown, source) or not may_replace(shown, requirements)


def may_replace(stored: StoredObject, requirements: Requirements) -> bool:
    """Return whether an object may be replaced by another version."""
    if requirements.overwrite is Overwrite.OWN:
        return is_replica(stored)
    return requirements.overwrite is Overwrite.CHANGED


def broken_by(
    past: Past,
    before: StoredObject | None,
    after: StoredObject | None,
    requirements: Requirements,
    oldest: int = 0,
) -> Iterator[Promise]:
    """Yield the promises that one change of the destination breaks.

    `oldest` is the oldest state of the source that the destination may show.
    """
    if after is None:
        if before and not (requirements.deletes and is_replica(before)):
            yield Promise.FOREIGN_KEPT
        if before and all(past[oldest:]):
            yield Promise.FORWARD  # the source was last absent before it held what was deleted
        return
    shown_versions = versions(past, after)
    if not shown_versions:
        yield Promise.WHOLE
    elif before and shown_versions[-1] < oldest:
        yield Promise.FORWARD
    if before and not may_replace(before, requirements):
        yield Promise.NOT_OVERWRITTEN


def was_deleted_by_user(past: Past, deletions: Sequence[int], shown: StoredObject) -> bool:
    """Return whether a user deleted the source after it was what `shown` is.

    `deletions` are the states of the source that users' deletions led to.
    """
    return any(at > version for version in versions(past, shown) for at in deletions)


def oldest_allowed(past: Past, shown: StoredObject | None, oldest: int = 0) -> int:
    """Return the oldest state of the source that `shown` can be, given that `oldest` was before it.

    The source may return to earlier contents, so one object can be several states of the source.
    The destination has gone back only when no choice of these states is in order.
    """
    shown_versions = versions(past, shown) if shown else []
    return min((version for version in shown_versions if version >= oldest), default=0)


def versions(past: Past, shown: StoredObject) -> list[int]:
    """Return the states of the source that an object equals."""
    return [n for n, source in enumerate(past) if source and shows(shown, source)]


def shows(stored: StoredObject, source: Pinned) -> bool:
    """Return whether bytes, metadata and provenance are those of this version."""
    attributes = stored.replica.attributes
    return (
        stored.data == source.data
        and attributes.content_type == source.object.content_type
        and attributes.custom_time == source.object.last_modified
        and attributes.metadata == {**source.object.metadata, **_provenance(source)}
    )


def _provenance(source: Pinned) -> dict[str, str]:
    version = source.object
    modified = version.last_modified.astimezone(UTC)
    facts = {
        "s3-source-bucket": version.ref.bucket,
        "s3-source-key": version.ref.key,
        "s3-source-etag": version.etag,
        "s3-source-last-modified": modified.isoformat().replace("+00:00", "Z"),
        "s3-source-size": str(len(source.data)),
    }
    return facts | ({"s3-source-version-id": version.version_id} if version.version_id else {})


def is_replica(stored: StoredObject) -> bool:
    """Return whether the provenance names this object. Names are the same on both sides here."""
    attributes = stored.replica.attributes.metadata
    origin = attributes.get("s3-source-bucket"), attributes.get("s3-source-key")
    return origin == (BUCKET, stored.replica.name)
