"""The protocol: make one destination object equal what S3 holds now.

The destination is read first and the source second; every change is conditioned on that reading of
the destination; after a change the source is read again, and only when it is still what was written
is the run done. No lock, no table, no state between runs. Why: docs/GUARANTEES.md.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from replicate.errors import (
    DestinationForbiddenError,
    LostRaceError,
    ReplicationError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol import mapping
from replicate.protocol.checksums import VerifyingBody
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    Outcome,
    Precondition,
    Reason,
    Replica,
    SourceObject,
    SourceRef,
    Status,
    VerifiedBy,
)
from replicate.protocol.plan import Copy, Delete, Done, Patch, Plan, Policy, decide
from replicate.protocol.ports import Body, Destination, Source


class Clock(Protocol):
    """All that the protocol knows of time."""

    def require(self) -> object:
        """Raise OutOfTimeError when no new round may begin."""

    def pause(self, lost_races: int) -> None:
        """Wait before the round after a lost race; `lost_races` counts those of this run."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What an event lets us expect. It decides how we ask, never what we do."""

    changed: bool = False
    """Probably something is to be copied: open the source at once, without asking about it."""
    new: bool = False
    """Probably small and new: write on the condition that it is, without looking first."""


LOOK_FIRST = Hint()

_RECOGNISED = VerifiedBy(source="fingerprint", destination="fingerprint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicator:
    """Runs the protocol over one pair of stores."""

    source: Source
    destination: Destination
    naming: Naming
    clock: Clock
    policy: Policy
    storage_classes: Mapping[str, str] = field(default_factory=dict)

    def replicate(self, ref: SourceRef, hint: Hint = LOOK_FIRST) -> Outcome:
        """Return when the destination equals the source. Raises ReplicationError."""
        run = _Run(ref=ref, name=self.naming.name(ref))
        assumed = hint.new
        opening = hint.changed
        replica = None if assumed else self.destination.head(run.name)
        lost: LostRaceError | None = None
        while True:
            self.clock.require()
            try:
                with self._look(ref, opening=opening) as (source, body):
                    plan = decide(ref, source, replica, self.policy)
                    if not isinstance(plan, Done):
                        run.begin(plan, lost)
                        replica = self._carry_out(plan, body, run)
                    elif not assumed:
                        return run.outcome(plan.reason, source, replica, self._dropped(source))
                    else:  # nothing is ever concluded from an assumption
                        replica = self.destination.head(run.name)
                lost = None
            except LostRaceError as error:
                lost = error
                lost_races = run.lose_race(error)
                if not assumed:  # else nobody raced: the object had been there all the time
                    self.clock.pause(lost_races)
                replica = self.destination.head(run.name)
            assumed = opening = False

    def _dropped(self, source: SourceObject | None) -> tuple[str, ...]:
        """Names of what the source says and GCS cannot hold."""
        return mapping.fit(source, self.policy.tags).dropped if source else ()

    @contextmanager
    def _look(
        self, ref: SourceRef, *, opening: bool
    ) -> Iterator[tuple[SourceObject | None, Body | None]]:
        """Read what the source holds now; with its bytes at hand when `opening`."""
        if not opening:
            yield self.source.head(ref), None
            return
        with self.source.open(ref) as body:
            yield (body.object if body else None), body

    def _carry_out(
        self, plan: Copy | Patch | Delete, body: Body | None, run: "_Run"
    ) -> Replica | None:
        """Change the destination: what it holds then. Raises Source-, DestinationChangedError."""
        match plan:
            case Copy(source, precondition) if body is not None:
                return self._copy(source, body, precondition, run)
            case Copy(source, precondition):
                with self.source.open(source.ref, source) as opened:
                    if opened is None:
                        raise SourceChangedError
                    return self._copy(source, opened, precondition, run)
            case Patch(source, replica):
                wanted = mapping.attributes(source, self.policy.tags)
                patched = self.destination.patch(run.name, wanted, replica)
                run.record_write(Reason.METADATA_UPDATED, VerifiedBy("etag", "crc32c"))
                return replace(patched, attributes=wanted)
            case Delete(replica):
                self.destination.delete(run.name, Precondition.unchanged(replica))
                run.record_write(Reason.DELETED, VerifiedBy("absent", "absent"))
                return None

    def _copy(
        self, source: SourceObject, body: Body, precondition: Precondition, run: "_Run"
    ) -> Replica:
        wanted = mapping.attributes(source, self.policy.tags)
        checked = VerifyingBody(body)
        written = self.destination.write(
            run.name, wanted, checked, precondition, self.storage_classes.get(source.storage_class)
        )
        reason = Reason.OVERWRITTEN if precondition.generation else Reason.CREATED
        run.record_write(reason, VerifiedBy(checked.verified_by, "crc32c"), source.size)
        # As we wrote it: if GCS normalises a value, the next look must not call that a change.
        return replace(written, attributes=wanted)


REFUSALS_NEEDED = 2
"""So often in a row a condition of one side must fail, while both sides look as it says, to be a
refusal. Once is no proof: an object may be created and deleted again between two looks, and a
source may be overwritten and restored."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a run has done so far."""

    ref: SourceRef
    name: str
    last_write: Reason | None = None
    bytes_copied: int = 0
    verified_by: VerifiedBy = _RECOGNISED
    _plan: Copy | Patch | Delete | None = None
    _lost_races: int = 0
    _refusals: int = 0
    _refused_by: type[LostRaceError] | None = None

    def begin(self, plan: Copy | Patch | Delete, lost: LostRaceError | None) -> None:
        """Note what is to be done now, after `lost`.

        Raises SourceForbiddenError or DestinationForbiddenError for what was refused although its
        condition holds. That was no lost race: a policy of the store would refuse it for ever.
        """
        if lost is None or not _is_unchanged(self._plan, plan, lost):
            self._refusals = 0
        elif self._refusals >= REFUSALS_NEEDED:
            raise _refused(self.ref, lost)
        self._plan = plan

    def lose_race(self, lost: LostRaceError) -> int:
        """Note that the condition of a write or read failed; return how often in this run."""
        self._refusals = self._refusals + 1 if isinstance(lost, self._refused_by or ()) else 1
        self._refused_by = type(lost)
        self._lost_races += 1
        return self._lost_races

    def record_write(self, reason: Reason, verified_by: VerifiedBy, bytes_copied: int = 0) -> None:
        """Note a change of the destination."""
        self.last_write = reason
        self.verified_by = verified_by
        self.bytes_copied += bytes_copied

    def outcome(
        self,
        reason: Reason,
        source: SourceObject | None,
        replica: Replica | None,
        dropped: tuple[str, ...] = (),
    ) -> Outcome:
        """Return the end of the run: its last write says more than that both sides are equal."""
        if self.last_write is None:
            status = Status.SKIPPED
        else:
            is_delete = self.last_write is Reason.DELETED
            status = Status.DELETED if is_delete else Status.REPLICATED
            if source is not None or is_delete:
                reason = self.last_write
        return Outcome(
            ref=self.ref,
            name=self.name,
            status=status,
            reason=reason,
            source=source,
            replica=replica,
            bytes_copied=self.bytes_copied,
            verified_by=self.verified_by,
            fields_dropped=dropped,
        )


def _is_unchanged(before: Plan | None, now: Plan, lost: LostRaceError) -> bool:
    """Whether the condition that failed is what both sides show now.

    The protocol compares no generations: `Destination` tells a refusal from a lost race where an
    object was there. Left are a source that has not changed and an object that is still absent.
    """
    if not isinstance(before, Copy) or not isinstance(now, Copy):
        return False
    if isinstance(lost, SourceChangedError):
        return before.source == now.source
    return not before.precondition.generation and not now.precondition.generation


def _refused(ref: SourceRef, lost: LostRaceError) -> ReplicationError:
    sentence = lost.message or "it does not say why."
    if isinstance(lost, SourceChangedError):
        return SourceForbiddenError(
            f"S3 refuses to give {ref.uri}, although it has not changed: {sentence}"
        )
    return DestinationForbiddenError(
        f"GCS refuses to create the replica of {ref.uri}, although there is none: {sentence}"
        " Look for a policy on the bucket, project or organization."
    )
