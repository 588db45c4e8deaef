"""What is promised of one object, in words that can be checked. None of the product's code is used.

The source is given as its past: what it held at first, after one change, after two...
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum

from fakes import Pinned, StoredObject

from replicate.protocol.plan import Overwrite, Policy

BUCKET = "source"

Past = Sequence[Pinned | None]


class Promise(StrEnum):
    """Holds in every state of every schedule."""

    WHOLE = "what the destination shows is one whole version that the source has had"
    FORWARD = "no version is ever replaced by an older one"
    EQUAL = "when all runs have finished, the destination equals the source"
    OURS = "nothing is deleted but replicas, and these only where deletes are replicated"
    KEPT = "overwrite=never replaces nothing"
    SUCCESS = "no run fails by itself"
    END = "every run ends"
    WATCHED = "while an execution runs, a message waits that runs the key again"
    TIDY = "no staged object is left, but those of executions that were stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the user asked for."""

    deletes: bool
    overwrites: bool

    @classmethod
    def of(cls, policy: Policy) -> "Terms":
        return cls(deletes=policy.deletes, overwrites=policy.overwrite is Overwrite.CHANGED)


def settled(past: Past, shown: StoredObject | None, terms: Terms) -> bool:
    """Whether the destination is what the source's newest state asks for."""
    source = past[-1]
    if source is None:
        return not (terms.deletes and shown and is_replica(shown))
    if shown is None:
        return False
    return shows(shown, source) or not terms.overwrites


def broken_by(
    past: Past,
    before: StoredObject | None,
    after: StoredObject | None,
    terms: Terms,
    oldest: int = 0,
) -> Iterator[Promise]:
    """Judge one change of the destination. What is older than state `oldest` must not come back."""
    if after is None:
        if before and not (terms.deletes and is_replica(before)):
            yield Promise.OURS
        if before and all(past[oldest:]):
            yield Promise.FORWARD  # the source was last absent before it held what was deleted
        return
    had = versions(past, after)
    if not had:
        yield Promise.WHOLE
    elif before and had[-1] < oldest:
        yield Promise.FORWARD
    if before and not terms.overwrites:
        yield Promise.KEPT


def oldest_allowed(past: Past, shown: StoredObject | None, oldest: int = 0) -> int:
    """Which state of the source is shown at the earliest, when `oldest` was shown before.

    Contents may come back, so that one object shows several states of the source. It goes back only
    if no way to read what was shown, one after the other, goes forward.
    """
    had = versions(past, shown) if shown else []
    return min((version for version in had if version >= oldest), default=0)


def versions(past: Past, shown: StoredObject) -> list[int]:
    """The states of the source that an object shows."""
    return [n for n, source in enumerate(past) if source and shows(shown, source)]


def shows(stored: StoredObject, source: Pinned) -> bool:
    """Whether bytes, metadata and provenance are those of this version."""
    said = stored.replica.attributes
    return (
        stored.data == source.data
        and said.content_type == source.object.content_type
        and said.custom_time == source.object.last_modified
        and said.metadata == {**source.object.metadata, **_provenance(source)}
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
    """Whether it says so. In these tests objects have the same name on both sides."""
    said = stored.replica.attributes.metadata
    origin = said.get("s3-source-bucket"), said.get("s3-source-key")
    return origin == (BUCKET, stored.replica.name)
