"""The protocol: make one GCS object equal what S3 holds now.

The destination is read first and the source second. Every write is conditioned on that reading of
the destination. After a write the source is read again, and the run ends only when the source is
still what was written. There is no lock, no table, and no state between runs. docs/GUARANTEES.md
says why this is correct.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from replicate.errors import LostRaceError
from replicate.protocol.assembly import Assembler
from replicate.protocol.copying import Copier
from replicate.protocol.evidence import HINT, Evidence
from replicate.protocol.handover import hand_over, watch_again
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    BY_FINGERPRINT,
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
from replicate.protocol.plan import Copy, Delete, Done, Patch, Policy, decide
from replicate.protocol.ports import Body, Clock, Destination, Executions, Source
from replicate.protocol.run import Run

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

    def _begin(self, ref: SourceRef, evidence: Evidence) -> Run:
        self.clock.require()
        return Run(
            ref=ref,
            name=(name := self.naming.name(ref)),
            uri=self.naming.uri(name),
            started=self.clock.monotonic(),
            delivered=evidence,
            evidence_now=evidence,
        )

    def _run_rounds(
        self,
        run: Run,
        expectation: Expectation,
        end_at_large: Callable[[Copy, Replica | None], T | None],
    ) -> Result | T:
        """Read both sides, decide and write, until the next reading shows that they are equal.

        `end_at_large` gets the plan to copy a large object, and what GCS has. What it returns ends
        the run; with None this run copies the object.
        """
        replica = None if expectation is Expectation.NEW else self.destination.head(run.name)
        large_from = self.assembler.sizes.large_from
        while True:
            try:
                with self._read_source(run.ref, expectation) as (source, body):
                    plan = decide(run.ref, source, replica, self.policy, run.evidence_now)
                    if isinstance(plan, Copy) and plan.source.size >= large_from:
                        ended = end_at_large(plan, replica)
                        if ended is not None:
                            return ended
                    if not isinstance(plan, Done):
                        replica = self._write(plan, body, run)
                if isinstance(plan, Done):
                    if expectation is not Expectation.NEW:
                        return self._done(plan, run, source, replica)
                    replica = self.destination.head(run.name)  # an unread one proves nothing
            except LostRaceError as lost_race:
                replica = self._read_again(lost_race, run, expectation)
            expectation = Expectation.UNKNOWN
            self.clock.require()

    def _read_again(
        self, lost_race: LostRaceError, run: Run, expectation: Expectation
    ) -> Replica | None:
        """Wait after a lost race, and read what the destination holds now."""
        run.lose_race(lost_race)
        if expectation is not Expectation.NEW:  # else nobody raced: the object existed before
            self.clock.pause(run.lost_races)
        return self.destination.head(run.name)

    def _hand_over(
        self,
        executions: Executions,
        run: Run,
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
        self._copier.sweep(run)
        return self._result(
            run,
            handed_over.reason,
            source=plan.source,
            replica=replica,
            execution=handed_over.execution,
        )

    def _done(
        self, plan: Done, run: Run, source: SourceObject | None, replica: Replica | None
    ) -> Result:
        """End a run: both sides are as they are to be."""
        if run.staged:
            self._copier.sweep(run)
        return self._result(
            run,
            plan.reason,
            source=source,
            replica=replica,
            fields_dropped=plan.fields_dropped,
        )

    @property
    def _copier(self) -> Copier:
        return Copier(self.source, self.destination, self.assembler, self.storage_classes)

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

    def _write(self, plan: Copy | Patch | Delete, body: Body | None, run: Run) -> Replica | None:
        """Write to the destination and return what it holds then. Raise LostRaceError.

        Raise SourceForbiddenError or DestinationForbiddenError if a store refuses the plan.
        """
        if run.refusals:
            run.refusals.require_none(plan)
        run.plan = plan
        match plan:
            case Copy():
                return self._copier.copy(plan, body, run)
            case Patch(attributes, replica):
                patched = self.destination.patch(run.name, attributes, replica)
                run.record_write(Reason.METADATA_UPDATED, VerifiedBy("etag", "crc32c"))
                return replace(patched, attributes=attributes)
            case Delete(replica):
                self.destination.delete(run.name, Precondition.unchanged(replica))
                run.record_write(Reason.DELETED, VerifiedBy("absent", "absent"))
                return None

    def _result(
        self,
        run: Run,
        reason: Reason,
        *,
        source: SourceObject | None = None,
        replica: Replica | None = None,
        fields_dropped: tuple[str, ...] = (),
        execution: str | None = None,
    ) -> Result:
        """Describe the end of a run: its last write, else `reason`. An execution ends nothing."""
        visible = _visible_write(run, replica)
        return Result(
            ref=run.ref,
            uri=run.uri,
            reason=reason if execution else visible or reason,
            source=source,
            replica=replica,
            bytes_copied=run.bytes_copied,
            bytes_sent=run.bytes_sent,
            verified_by=run.verified_by if visible else BY_FINGERPRINT,
            fields_dropped=fields_dropped,
            elapsed_s=self.clock.monotonic() - run.started,
            execution=execution,
        )


def _copy_here(_plan: Copy, _replica: Replica | None) -> None:
    """Let this run copy a large object, as far as its time lasts."""


def _leave(plan: Copy, _replica: Replica | None) -> Copy:
    """End the run before a large object is copied."""
    return plan


def _visible_write(run: Run, replica: Replica | None) -> WriteReason | None:
    """Return the last write of a run, unless `replica` shows that another run has undone it."""
    is_undone = (run.last_write is Reason.DELETED) != (replica is None)
    return None if is_undone else run.last_write
