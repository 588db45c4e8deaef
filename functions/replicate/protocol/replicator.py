"""The protocol: make one GCS object equal what S3 holds now.

The destination is read first and the source second. Every write is conditioned on that reading of
the destination. After a write the source is read again, and the run ends only when the source is
still what was written. There is no lock, no table, and no state between runs. docs/GUARANTEES.md
says why this is correct.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from replicate.errors import LostRaceError, ReplicationError, SourceChangedError
from replicate.protocol.assembly import Assembler
from replicate.protocol.checksums import CommitGate
from replicate.protocol.evidence import HINT, OWN_WRITE, Evidence
from replicate.protocol.handover import hand_over, watch_again
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    BY_FINGERPRINT,
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
from replicate.protocol.plan import Copy, Delete, Done, Patch, Policy, decide, md5_differs
from replicate.protocol.ports import Body, Clock, Destination, Executions, Source
from replicate.protocol.refusals import Refusals
from replicate.protocol.whole import names_of_whole, stage_whole

T = TypeVar("T")


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
        *,
        watched: Collection[str] = (),
        evidence: Evidence = HINT,
        is_request: bool = False,
    ) -> Result:
        """Return when the destination equals the source, or an execution copies the object.

        `watched` names the executions that the event waits for. `evidence` is what the event proves
        if the source is gone. A request, unlike an event, need not be kept. Raise ReplicationError.
        """
        run = self._begin(ref, evidence)
        if self.executions is None:
            return self._run_rounds(run, expectation, _copy_here)
        if running := watch_again(self.executions, watched):
            return self._result(run, Reason.RUNNING, execution=running)
        start = partial(
            self._hand_over, self.executions, run, watched=watched, is_request=is_request
        )
        return self._run_rounds(run, expectation, start)

    def replicate_unless_large(self, ref: SourceRef, evidence: Evidence) -> Result | None:
        """Replicate the object; return None if it is large: an execution must copy it.

        Raise ReplicationError.
        """
        ended = self._run_rounds(self._begin(ref, evidence), Expectation.UNKNOWN, _leave)
        return None if isinstance(ended, Copy) else ended

    def _begin(self, ref: SourceRef, evidence: Evidence) -> "_Run":
        return _Run(
            ref=ref,
            name=self.naming.name(ref),
            started=self.clock.monotonic(),
            delivered=evidence,
            evidence_now=evidence,
            refusals=Refusals(ref),
        )

    def _run_rounds(
        self,
        run: "_Run",
        expectation: Expectation,
        end_at_large: Callable[[Copy, Replica | None], T | None],
    ) -> Result | T:
        """Read both sides, decide and write, until the next reading shows that they are equal.

        `end_at_large` gets the plan to copy a large object, and what GCS has. What it returns ends
        the run; with None this run copies the object.
        """
        replica = None if expectation is Expectation.NEW else self.destination.head(run.name)
        while True:
            self.clock.require()
            try:
                with self._read_source(run.ref, expectation) as (source, body):
                    plan = decide(run.ref, source, replica, self.policy, run.evidence_now)
                    if isinstance(plan, Copy) and self._is_large(plan.source):
                        ended = end_at_large(plan, replica)
                        if ended is not None:
                            return ended
                    if not isinstance(plan, Done):
                        run.refusals.require_none(plan)
                        replica = self._write(plan, body, run)
                    elif expectation is Expectation.NEW:  # an unread destination proves nothing
                        replica = self.destination.head(run.name)
                    else:
                        return self._done(plan, run, source, replica)
            except LostRaceError as lost_race:
                replica = self._read_again(lost_race, run, expectation)
            expectation = Expectation.UNKNOWN

    def _read_again(
        self, lost_race: LostRaceError, run: "_Run", expectation: Expectation
    ) -> Replica | None:
        """Wait after a lost race, and read what the destination holds now."""
        run.lose_race(lost_race)
        if expectation is not Expectation.NEW:  # else nobody raced: the object existed before
            self.clock.pause(run.lost_races)
        return self.destination.head(run.name)

    def _hand_over(
        self,
        executions: Executions,
        run: "_Run",
        plan: Copy,
        replica: Replica | None,
        *,
        watched: Collection[str],
        is_request: bool,
    ) -> Result:
        """Let an execution copy a large object."""
        handed_over = hand_over(
            executions, run.ref, plan.source, plan.precondition, watched, is_request=is_request
        )
        self._sweep(run)
        return self._result(
            run,
            handed_over.reason,
            source=plan.source,
            replica=replica,
            execution=handed_over.execution,
        )

    def _done(
        self, plan: Done, run: "_Run", source: SourceObject | None, replica: Replica | None
    ) -> Result:
        """End a run: both sides are as they are to be."""
        self._sweep(run)
        return self._result(
            run,
            run.visible_write(replica) or plan.reason,
            source=source,
            replica=replica,
            fields_dropped=plan.fields_dropped,
        )

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

    def _write(self, plan: Copy | Patch | Delete, body: Body | None, run: "_Run") -> Replica | None:
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
            names = names_of_whole(assembler.prefix, source, run.name, storage_class)
            not_tried = names.folder not in run.staged
            run.staged.add(names.folder)
            if not_tried and self.destination.head(names.whole) is None:
                with gate.counting():
                    staged, sent = stage_whole(self.destination, names, gate)
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
            verified_by=run.verified_by if run.visible_write(replica) else BY_FINGERPRINT,
            fields_dropped=fields_dropped,
            elapsed_s=self.clock.monotonic() - run.started,
            execution=execution,
        )


def _copy_here(_plan: Copy, _replica: Replica | None) -> None:
    """Let this run copy a large object, as far as its time lasts."""


def _leave(plan: Copy, _replica: Replica | None) -> Copy:
    """End the run before a large object is copied."""
    return plan


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a run has done so far, and what it has learned from that."""

    ref: SourceRef
    name: str
    started: float
    delivered: Evidence
    """What the event proves if the source is gone."""
    evidence_now: Evidence
    """That, or the write of this run."""
    refusals: Refusals
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
