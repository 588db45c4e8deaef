"""The protocol: make one GCS object equal what S3 holds now.

The destination is read first and the source second. Every write is conditioned on that reading of
the destination. After a write the source is read again, and the run ends only when the source is
still what was written. There is no lock, no table, and no state between runs. docs/GUARANTEES.md
says why this is correct.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    LostRaceError,
    ReplicationError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol.assembly import Assembler
from replicate.protocol.checksums import CommitGate
from replicate.protocol.evidence import HINT, OWN_WRITE, Evidence, EvidenceKind
from replicate.protocol.handover import Executions, hand_over, watch_again
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    MIN_DURATION_DAYS,
    Copied,
    Expectation,
    Precondition,
    Reason,
    Replica,
    Result,
    SourceObject,
    SourceRef,
    VerifiedBy,
    WriteReason,
)
from replicate.protocol.plan import Copy, Delete, Done, Patch, Plan, Policy, decide, md5_differs
from replicate.protocol.ports import Body, Destination, Source


class Clock(Protocol):
    """What the protocol knows of time."""

    def require(self) -> object:
        """Raise OutOfTimeError when no new round may begin."""

    def pause(self, lost_races: int) -> None:
        """Wait before the round after a lost race. `lost_races` counts those of this run."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment."""


_BY_FINGERPRINT = VerifiedBy(source="fingerprint", destination="fingerprint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicator:
    """Runs the protocol over one pair of stores."""

    source: Source
    destination: Destination
    naming: Naming
    clock: Clock
    policy: Policy
    assembler: Assembler
    """Copies objects in parts."""
    storage_classes: Mapping[str, str] = field(default_factory=dict)
    executions: Executions | None = None
    """They copy large objects; without them this run copies these, as far as its time lasts."""

    def replicate(
        self,
        ref: SourceRef,
        expectation: Expectation = Expectation.UNKNOWN,
        watched: Collection[str] = (),
        evidence: Evidence = HINT,
    ) -> Result:
        """Return when the destination equals the source, or an execution copies the object.

        `watched` names the executions that the event waits for. `evidence` is what the event proves
        if the source is gone; it also tells an event, which must be kept, from a request. Raise
        ReplicationError.
        """
        run = _Run(ref=ref, name=self.naming.name(ref), started=self.clock.monotonic())
        if self.executions and (running := watch_again(self.executions, watched)):
            return self._result(run, Reason.RUNNING, execution=running)
        is_read = expectation is not Expectation.NEW
        replica = self.destination.head(run.name) if is_read else None
        lost: LostRaceError | None = None
        known = evidence
        while True:
            self.clock.require()
            try:
                with self._read_source(ref, expectation) as (source, body):
                    plan = decide(ref, source, replica, self.policy, known)
                    if isinstance(plan, Copy) and self.executions and self._is_large(plan.source):
                        started = hand_over(
                            self.executions,
                            ref,
                            plan.source,
                            plan.precondition,
                            watched,
                            is_request=evidence.kind is EvidenceKind.REQUEST,
                        )
                        self._sweep(run)
                        return self._result(
                            run,
                            started.reason,
                            source=source,
                            replica=replica,
                            execution=started.execution,
                        )
                    if isinstance(plan, Done) and is_read:
                        self._sweep(run)
                        return self._result(
                            run,
                            run.visible_write(replica) or plan.reason,
                            source=source,
                            replica=replica,
                            fields_dropped=plan.fields_dropped,
                        )
                    if isinstance(plan, Done):  # an unread destination proves nothing
                        replica = self.destination.head(run.name)
                    else:
                        run.begin(plan, lost)
                        known = OWN_WRITE if _is_first(plan) else evidence
                        replica = self._carry_out(plan, body, run)
                lost = None
            except LostRaceError as error:
                lost = error
                lost_races = run.lose_race(error)
                if is_read:  # else nobody raced: the object existed before
                    self.clock.pause(lost_races)
                replica = self.destination.head(run.name)
                known = evidence  # another run may have written what is there now
            is_read = True
            expectation = Expectation.UNKNOWN

    def _is_large(self, source: SourceObject) -> bool:
        return source.size >= self.assembler.sizes.large_from

    def _is_small(self, source: SourceObject) -> bool:
        """Return whether the object is neither copied in parts nor compressed, by its size."""
        sizes = self.assembler.sizes
        return source.size < min(sizes.parallel_from, sizes.compress_from)

    @contextmanager
    def _read_source(
        self, ref: SourceRef, expectation: Expectation
    ) -> Iterator[tuple[SourceObject | None, Body | None]]:
        """Read what the source holds now, and open its bytes if they are probably needed."""
        if expectation is Expectation.UNKNOWN:
            yield self.source.head(ref), None
            return
        with self.source.open(ref) as body:
            yield (body.object if body else None), body

    def _carry_out(
        self, plan: Copy | Patch | Delete, body: Body | None, run: "_Run"
    ) -> Replica | None:
        """Write to the destination and return what it holds then. Raise LostRaceError."""
        match plan:
            case Copy():
                return self._copy(plan, body, run)
            case Patch(attributes, replica):
                patched = self.destination.patch(run.name, attributes, replica)
                run.record_write(Reason.METADATA_UPDATED, VerifiedBy("etag", "crc32c"))
                return replace(patched, attributes=attributes)
            case Delete(replica):
                self.destination.delete(run.name, Precondition.unchanged(replica))
                run.record_write(Reason.DELETED, VerifiedBy("absent", "absent"))
                return None

    def _copy(self, plan: Copy, body: Body | None, run: "_Run") -> Replica:
        """Copy in parts, or in one stream that may be open already."""
        source = plan.source
        storage_class = self.storage_classes.get(source.storage_class)
        is_small = self._is_small(source)
        job = None if is_small else self.assembler.job(source, run.name, storage_class)
        if job:
            run.staged.add(job.names.folder)
            copied = self.assembler.copy(job, run.name, plan.attributes, plan.precondition)
            run.staged.discard(job.names.folder)
        elif body is not None:
            copied = self._stream(plan, body, run, storage_class)
        else:
            with self.source.open(source.ref, source) as opened:
                if opened is None:
                    raise SourceChangedError
                copied = self._stream(plan, opened, run, storage_class)
        verified_by = VerifiedBy(copied.verified_by, "crc32c")
        run.record_write(plan.reason, verified_by, source.size, copied.bytes_sent)
        # As it was written: if GCS normalises a value, the next round must not call it a change.
        written = replace(copied.replica, attributes=plan.attributes)
        # Another checksum has verified it. So the ETag is no MD5, and to copy again does not help.
        return replace(written, md5=None) if md5_differs(source, written) else written

    def _sweep(self, run: "_Run") -> None:
        """Delete the parts that this run has staged and not joined, because another run was faster.

        A failure is no failure of the replication: the lifecycle rule deletes them later.
        """
        for folder in run.staged:
            with suppress(ReplicationError):
                self.assembler.sweep(folder)

    def _stream(self, plan: Copy, body: Body, run: "_Run", storage_class: str | None) -> Copied:
        """Copy in one stream: compressed and by way of a staged object, if that pays.

        It is tried once for each version, and not where a staged object is: another run is about to
        join that, or was killed. So runs that copy the same version do not hinder each other. Nor
        is it tried where GCS would bill the staged object for a month or more: that may cost more
        than the egress.
        """
        source = plan.source
        assembler = self.assembler
        stays = self._is_small(source) or storage_class in MIN_DURATION_DAYS
        probe = None if stays else assembler.probe(source, body, source.size)
        gate = CommitGate(probe or body, self.source)
        if probe and probe.shrinks and not self.destination.staging_obstacle():
            names = assembler.names_of_whole(source, run.name, storage_class)
            is_first = names.folder not in run.staged
            run.staged.add(names.folder)
            if is_first and self.destination.head(names.whole) is None:
                with gate.counting():
                    staged, sent = assembler.stage_whole(names, gate)
                    run.bytes_sent += sent  # also if another run is faster to write the object
                    written = assembler.join(
                        run.name, plan.attributes, [staged], plan.precondition, storage_class
                    )
                run.staged.discard(names.folder)
                return Copied(written, gate.verified_by, bytes_sent=0)
        with gate.counting():
            written = self.destination.write(
                run.name, plan.attributes, gate, plan.precondition, storage_class
            )
        return Copied(written, gate.verified_by, source.size)

    def _result(
        self,
        run: "_Run",
        reason: Reason,
        *,
        source: SourceObject | None = None,
        replica: Replica | None = None,
        fields_dropped: tuple[str, ...] = (),
        execution: str | None = None,
    ) -> Result:
        return Result(
            ref=run.ref,
            uri=self.naming.uri(run.name),
            reason=reason,
            source=source,
            replica=replica,
            bytes_copied=run.bytes_copied,
            bytes_sent=run.bytes_sent,
            verified_by=run.verified_by if run.visible_write(replica) else _BY_FINGERPRINT,
            fields_dropped=fields_dropped,
            elapsed_s=self.clock.monotonic() - run.started,
            execution=execution,
        )


REFUSALS_NEEDED = 2
"""Failures in a row of a condition that holds, after which it counts as a refusal by a policy.

One failure proves nothing: an object can be created and deleted between two readings, and a source
can be overwritten and restored.
"""


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a run has done so far."""

    ref: SourceRef
    name: str
    started: float
    last_write: WriteReason | None = None
    bytes_copied: int = 0
    bytes_sent: int = 0
    verified_by: VerifiedBy = _BY_FINGERPRINT
    staged: set[str] = field(default_factory=set)
    """Folders of staged objects that no commit of this run has joined."""
    _plan: Copy | Patch | Delete | None = None
    _lost_races: int = 0
    _refusals: int = 0
    _refused_by: type[LostRaceError] | None = None

    def begin(self, plan: Copy | Patch | Delete, lost: LostRaceError | None) -> None:
        """Record the plan of this round, which follows the lost race `lost`.

        Raise SourceForbiddenError or DestinationForbiddenError if a store refuses a request
        although its condition holds. That is no lost race: the store's policy always refuses it.
        """
        if lost is None or not _is_unchanged(self._plan, plan, lost):
            self._refusals = 0
        elif self._refusals >= REFUSALS_NEEDED:
            raise _refusal(self.ref, lost)
        self._plan = plan

    def lose_race(self, lost: LostRaceError) -> int:
        """Record that the condition of a write or read failed. Return the count in this run."""
        self._refusals = self._refusals + 1 if isinstance(lost, self._refused_by or ()) else 1
        self._refused_by = type(lost)
        self._lost_races += 1
        return self._lost_races

    def record_write(
        self,
        reason: WriteReason,
        verified_by: VerifiedBy,
        bytes_copied: int = 0,
        bytes_sent: int = 0,
    ) -> None:
        """Record a change of the destination. That it was foreign first is not forgotten."""
        if self.last_write is not Reason.FOREIGN_OVERWRITTEN or reason is Reason.DELETED:
            self.last_write = reason
        self.verified_by = verified_by
        self.bytes_copied += bytes_copied
        self.bytes_sent += bytes_sent

    def visible_write(self, replica: Replica | None) -> WriteReason | None:
        """Return the last write, unless `replica` shows that another run has undone it."""
        is_undone = (self.last_write is Reason.DELETED) != (replica is None)
        return None if is_undone else self.last_write


def _is_first(plan: Plan) -> bool:
    """Return whether a plan puts a replica where none of this key was.

    If the source is gone afterwards, the run of its deletion may have ended before: it saw nothing
    to delete. So this run takes back what it wrote. A replica that was there before, that run saw.
    """
    return isinstance(plan, Copy) and plan.reason is not Reason.OVERWRITTEN


def _is_unchanged(before: Plan | None, now: Plan, lost: LostRaceError) -> bool:
    """Return whether both sides now show the state that the failed condition required.

    The protocol does not compare generations: where an object exists, `Destination` itself tells a
    refusal from a lost race. Two cases remain: an unchanged source, and an object that is absent.
    """
    if not isinstance(before, Copy) or not isinstance(now, Copy):
        return False
    if isinstance(lost, SourceChangedError):
        return before.source == now.source
    if not isinstance(lost, DestinationChangedError):  # it was about a staged object
        return False
    return not before.precondition.generation and not now.precondition.generation


def _refusal(ref: SourceRef, lost: LostRaceError) -> ReplicationError:
    sentence = lost.message or "it does not say why."
    if isinstance(lost, SourceChangedError):
        return SourceForbiddenError(
            f"S3 refuses to give {ref.uri}, although it has not changed: {sentence}"
        )
    return DestinationForbiddenError(
        f"GCS refuses to create the replica of {ref.uri}, although there is none: {sentence}"
        " Look for a policy on the bucket, project or organization."
    )
