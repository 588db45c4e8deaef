"""Evidence: what a delivery proves about a source that is gone.

That S3 has no object does not say who deleted it. Where the deletions of lifecycle rules are not
replicated, a replica may be the last copy. Then a run deletes it only on evidence.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Deletes(StrEnum):
    """Which deletions in S3 delete the replica."""

    NONE = "none"
    BY_USERS = "by_users"
    """Not those of lifecycle rules."""
    ALL = "all"


class EvidenceKind(StrEnum):
    """What a delivery is, from the weakest evidence to the strongest."""

    REQUEST = "request"
    """Somebody asks for a copy: an API request, or a task of a batch job. It never deletes."""
    HINT = "hint"
    """Any event that is no deletion by a user: the key may have changed."""
    USER_DELETION = "user_deletion"
    """S3's own event about a deletion that no lifecycle rule made."""
    OWN_WRITE = "own_write"
    """No delivery: the run itself has just put the replica where none of this key was."""


_STRENGTH = list(EvidenceKind)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A delivery as evidence. `deleted_at` is the time of the user's deletion."""

    kind: EvidenceKind
    deleted_at: datetime | None = None

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly the deletion by a user has a time."""
        if (self.kind is EvidenceKind.USER_DELETION) != (self.deleted_at is not None):
            raise ValueError(f"no evidence: {self.kind} {self.deleted_at}")

    def permits_deletion(self, deletes: Deletes, modified_at: datetime | None) -> bool:
        """Return whether a replica may be deleted because its source is gone.

        `modified_at` is when S3 stored the version that the replica shows. A deletion proves
        nothing about a version that was stored after it: a lifecycle rule may have expired that.
        """
        match deletes, self.kind:
            case Deletes.NONE, _:
                return False
            case _, EvidenceKind.OWN_WRITE:
                return True
            case Deletes.ALL, kind:
                return kind is not EvidenceKind.REQUEST
        if self.deleted_at is None or modified_at is None:
            return False
        return modified_at <= self.deleted_at

    def merge(self, other: "Evidence") -> "Evidence":
        """Return the stronger of two. Of two deletions the later one covers both."""
        if self.deleted_at and other.deleted_at:
            return self if self.deleted_at >= other.deleted_at else other
        return max(self, other, key=lambda each: _STRENGTH.index(each.kind))

    def __str__(self) -> str:
        """Return the evidence as one text, for messages that carry it."""
        return f"{self.kind} {self.deleted_at.isoformat()}" if self.deleted_at else str(self.kind)

    @classmethod
    def parse(cls, text: str) -> "Evidence":
        """Read the text of a message. Raise ValueError if it is not that of a delivery."""
        name, _, deleted_at = text.partition(" ")
        kind = EvidenceKind(name)
        if kind is EvidenceKind.OWN_WRITE:
            raise ValueError(text)
        return cls(kind, datetime.fromisoformat(deleted_at) if deleted_at else None)


REQUEST = Evidence(EvidenceKind.REQUEST)
HINT = Evidence(EvidenceKind.HINT)
OWN_WRITE = Evidence(EvidenceKind.OWN_WRITE)


def user_deletion(at: datetime) -> Evidence:
    """Return the evidence of a deletion by a user."""
    return Evidence(EvidenceKind.USER_DELETION, at)
