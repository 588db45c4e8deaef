"""The record of one run: what it has written, and which races it has lost.

A store may reject a request again and again although its condition holds. That is no lost race but
a refusal by a policy, which always rejects the request. The run ends then.
"""

from dataclasses import dataclass, field

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    LostRaceError,
    ReplicationError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol.evidence import OWN_WRITE, Evidence
from replicate.protocol.model import (
    BY_FINGERPRINT,
    Reason,
    Replica,
    SourceRef,
    VerifiedBy,
    WriteReason,
)
from replicate.protocol.plan import Copy, Delete, Patch

REFUSALS_NEEDED = 2
"""Failures in a row of a condition that holds, after which it counts as a refusal by a policy.

One failure proves nothing: an object can be created and deleted between two readings, and a source
can be overwritten and restored.
"""


class Refusals:
    """The lost races of one run since its last success."""

    def __init__(self, ref: SourceRef) -> None:
        self._ref = ref
        self._planned: Copy | Patch | Delete | None = None
        self._lost_race: LostRaceError | None = None
        self._in_a_row = 0

    def lost(self, lost_race: LostRaceError) -> None:
        """Record that the condition of a write or read failed."""
        is_like_the_last = isinstance(lost_race, type(self._lost_race))
        self._in_a_row = self._in_a_row + 1 if is_like_the_last else 1
        self._lost_race = lost_race

    def succeeded(self) -> None:
        """Record that a write succeeded."""
        self._in_a_row = 0
        self._lost_race = None

    def require_none(self, plan: Copy | Patch | Delete) -> None:
        """Record the plan of the next write.

        Raise SourceForbiddenError or DestinationForbiddenError if a store has refused the plan
        before although its condition holds.
        """
        lost_race = self._lost_race
        if lost_race is None or not _condition_held(self._planned, plan, lost_race):
            self._in_a_row = 0
        elif self._in_a_row >= REFUSALS_NEEDED:
            raise _refusal(self._ref, lost_race)
        self._planned = plan


def _condition_held(
    failed: Copy | Patch | Delete | None, now: Copy | Patch | Delete, lost_race: LostRaceError
) -> bool:
    """Return whether both sides now show the state that the failed plan required.

    The protocol does not compare generations: where an object exists, `Destination` itself tells a
    refusal from a lost race. Two cases remain: an unchanged source, and an object that is absent.
    """
    if not isinstance(failed, Copy) or not isinstance(now, Copy):
        return False
    if isinstance(lost_race, SourceChangedError):
        return failed.source == now.source
    if not isinstance(lost_race, DestinationChangedError):  # it was about a staged object
        return False
    return not failed.precondition.generation and not now.precondition.generation


def _refusal(ref: SourceRef, lost_race: LostRaceError) -> ReplicationError:
    sentence = lost_race.message or "it does not say why."
    if isinstance(lost_race, SourceChangedError):
        return SourceForbiddenError(
            f"S3 refuses to give {ref.uri}, although it has not changed: {sentence}"
        )
    return DestinationForbiddenError(
        f"GCS refuses to create the replica of {ref.uri}, although there is none: {sentence}"
        " Look for a policy on the bucket, project or organization."
    )


@dataclass(slots=True, kw_only=True)
class Run:
    """What a run has done so far, and what it has learned from that."""

    ref: SourceRef
    name: str
    """Of the object in the destination."""
    uri: str
    """The same, for people."""
    started: float
    delivered: Evidence
    """What the event proves if the source is gone."""
    evidence_now: Evidence = field(init=False)
    """That, or the write of this run."""
    refusals: Refusals = field(init=False)
    last_write: WriteReason | None = None
    bytes_copied: int = 0
    bytes_sent: int = 0
    verified_by: VerifiedBy = BY_FINGERPRINT
    staged: set[str] = field(default_factory=set)
    """Folders of staged objects that no commit of this run has joined."""
    lost_races: int = 0

    def __post_init__(self) -> None:
        self.evidence_now = self.delivered
        self.refusals = Refusals(self.ref)

    def lose_race(self, lost_race: LostRaceError) -> None:
        """Record that the condition of a write or read failed.

        What is in the destination now may be the write of another run.
        """
        self.refusals.lost(lost_race)
        self.lost_races += 1
        self.evidence_now = self.delivered

    def record_write(
        self,
        reason: WriteReason,
        verified_by: VerifiedBy,
        bytes_copied: int = 0,
        bytes_sent: int = 0,
    ) -> None:
        """Record a change of the destination.

        If the run has overwritten a foreign object, that stays its reason until it deletes.
        """
        if self.last_write is not Reason.FOREIGN_OVERWRITTEN or reason is Reason.DELETED:
            self.last_write = reason
        self.verified_by = verified_by
        self.bytes_copied += bytes_copied
        self.bytes_sent += bytes_sent
        self.refusals.succeeded()
        self.evidence_now = OWN_WRITE if _creates_replica(reason) else self.delivered

    def visible_write(self, replica: Replica | None) -> WriteReason | None:
        """Return the last write, unless `replica` shows that another run has undone it."""
        is_undone = (self.last_write is Reason.DELETED) != (replica is None)
        return None if is_undone else self.last_write


def _creates_replica(reason: WriteReason) -> bool:
    """Return whether a write puts a replica where none of this key was.

    If the source is gone after the write, the run of its deletion may have ended before the write:
    it found no replica to delete. So this run deletes what it wrote. Where a replica was before,
    the run of the deletion found that one.
    """
    return reason in {Reason.CREATED, Reason.FOREIGN_OVERWRITTEN}
