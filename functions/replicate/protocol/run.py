"""The record of one run."""

from dataclasses import dataclass, field

from replicate.errors import LostRaceError
from replicate.protocol.evidence import OWN_WRITE, Evidence
from replicate.protocol.model import (
    BY_FINGERPRINT,
    Reason,
    SourceRef,
    VerifiedBy,
    WriteReason,
)
from replicate.protocol.plan import Copy, Delete, Patch
from replicate.protocol.refusals import Refusals


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
    evidence_now: Evidence
    """That, or the write of this run."""
    plan: Copy | Patch | Delete | None = None
    """What the run has last begun to write."""
    refusals: Refusals | None = None
    """The lost races since the last write; None if there was none."""
    last_write: WriteReason | None = None
    bytes_copied: int = 0
    bytes_sent: int = 0
    verified_by: VerifiedBy = BY_FINGERPRINT
    staged: set[str] = field(default_factory=set)
    """Folders of staged objects that no commit of this run has joined."""
    lost_races: int = 0

    def lose_race(self, lost_race: LostRaceError) -> None:
        """Record that the condition of a write or read failed.

        What is in the destination now may be the write of another run.
        """
        self.refusals = self.refusals or Refusals(self.ref)
        self.refusals.lost(lost_race, self.plan)
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
        self.refusals = None
        self.evidence_now = OWN_WRITE if _creates_replica(reason) else self.delivered


def _creates_replica(reason: WriteReason) -> bool:
    """Return whether a write puts a replica where none of this key was.

    If the source is gone after the write, the run of its deletion may have ended before the write:
    it found no replica to delete. So this run deletes what it wrote. Where a replica was before,
    the run of the deletion found that one.
    """
    return reason in {Reason.CREATED, Reason.FOREIGN_OVERWRITTEN}
