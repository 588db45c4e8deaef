"""Large objects: an execution of many invocations stages slices and commits them.

The execution's state holds names and numbers only; the staged objects are the record of what is
done. So every step may be repeated at any point, by a retry or by another execution.
"""

from contextlib import suppress
from dataclasses import dataclass

from replicate.errors import LostRaceError
from replicate.protocol.evidence import OWN_WRITE, REQUEST
from replicate.protocol.mapping import fit
from replicate.protocol.model import (
    ABSENT,
    BY_FINGERPRINT,
    Precondition,
    Reason,
    Replica,
    Result,
    SourceObject,
    SourceRef,
    VerifiedBy,
)
from replicate.protocol.parts import staging_folder, version_digest
from replicate.protocol.plan import Copy, Delete, decide, reason_to_write
from replicate.protocol.replicator import Replicator
from replicate.protocol.slices import Slices
from replicate.protocol.staged import Job

MAX_ROUNDS = 10
"""Plans in one execution. Each lost race needs another one.

Chosen, not measured: ten lost races in a row have another cause, such as a policy of the bucket.
"""

EVENTS_PER_SLICE = 7
"""Events in the history of an execution for a slice without retries.

Counted by type: MapIterationStarted, TaskStateEntered, LambdaFunctionScheduled and -Started and
-Succeeded, TaskStateExited, MapIterationSucceeded.
"""

MAX_EVENTS = 20_000
"""Events of all rounds without retries. Step Functions allows 25,000 ("Quotas" in its developer
guide): the rest is left for three retries of each slice.

More retries may end the execution, as any failure does: the next one uses what is staged.
"""


def max_rounds(slices: int) -> int:
    """Return how many plans of so many slices one execution may have: 4 of 640 slices."""
    return max(1, min(MAX_ROUNDS, MAX_EVENTS // (EVENTS_PER_SLICE * slices)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What an execution is to stage, and the state of the destination that its commit requires."""

    version_digest: str
    precondition: Precondition
    slices: int


class LargeCopy:
    """The steps of an execution, over the same stores as `Replicator`.

    An execution is no evidence of a deletion: the event that waits for it is. So it deletes only
    what its own commit has just created.
    """

    def __init__(self, replicator: Replicator) -> None:
        self._assembler = replicator.assembler
        self._slices = Slices(replicator.assembler)
        self._replicator = replicator
        self._source = replicator.source
        self._destination = replicator.destination
        self._naming = replicator.naming

    def plan(self, ref: SourceRef, staged: str | None) -> Planned | Result:
        """Plan the slices, or return how the key was made equal without any.

        `staged` is the digest of the version that this execution has staged. When another large
        version has replaced it, this execution ends: another one copies that, which the new
        version's event or the message that watches this execution starts.
        """
        name = self._naming.name(ref)
        while True:
            self._replicator.clock.require()
            replica = self._destination.head(name)
            source = self._source.head(ref)
            current = version_digest(source) if source else None
            if staged and staged != current:
                self.sweep(ref, staged)
            plan = decide(ref, source, replica, self._replicator.policy, REQUEST)
            job = self._job(name, plan.source) if isinstance(plan, Copy) else None
            if isinstance(plan, Copy) and job:
                if staged and staged != current:
                    return self._superseded(name, plan.source, replica)
                return Planned(
                    version_digest=version_digest(plan.source),
                    precondition=plan.precondition,
                    slices=job.cut.slices,
                )
            result = self._replicator.replicate_unless_large(ref, REQUEST)
            if result is None:
                continue  # meanwhile the source has become a large object
            copied = version_digest(result.source) if result.source else None
            for version in filter(None, {staged, copied}):  # the source may have changed meanwhile
                self.sweep(ref, version)
            return result

    def stage(self, ref: SourceRef, planned: Planned, number: int) -> bool:
        """Stage one slice. Return False when the key must be planned again."""
        name = self._naming.name(ref)
        source = self._source.head(ref)
        if source is None or version_digest(source) != planned.version_digest:
            return False
        job = self._job(name, source)
        if job is None or number >= job.cut.slices:
            return False  # the settings have changed since the plan
        if not self._is_as_planned(self._destination.head(name), planned):
            return False  # the commit would fail
        try:
            self._slices.stage(job, number)
        except LostRaceError:
            return False  # the commit finds out what is missing
        return True

    def commit(self, ref: SourceRef, planned: Planned) -> Result | None:
        """Join the slices under the final name. Return None when the key must be planned again."""
        name = self._naming.name(ref)
        source = self._source.head(ref)
        if source is None or version_digest(source) != planned.version_digest:
            return None
        job = self._job(name, source)
        found = self._destination.head(name)  # a read costs less than a failed commit
        if job is None or not self._is_as_planned(found, planned):
            return None
        wanted = fit(source, self._replicator.policy.tags)
        try:
            copied = self._slices.join(job, name, wanted.attributes, planned.precondition)
        except LostRaceError:
            return None
        written, reason = copied.replica, reason_to_write(ref, found)
        current = self._source.head(ref)
        if current != source:
            if current is None and reason is not Reason.OVERWRITTEN:
                self._take_back(ref, written)
            return None
        self.sweep(ref, planned.version_digest)
        return Result(
            ref=ref,
            uri=self._naming.uri(name),
            reason=reason,
            source=source,
            replica=written,
            bytes_copied=source.size,
            bytes_sent=copied.bytes_sent,
            verified_by=VerifiedBy(copied.verified_by, "crc32c"),
            fields_dropped=wanted.dropped,
        )

    def sweep(self, ref: SourceRef, version: str) -> None:
        """Delete what is staged for one version."""
        name = self._naming.name(ref)
        self._assembler.sweep(staging_folder(self._assembler.prefix, version, name))

    def _take_back(self, ref: SourceRef, written: Replica) -> None:
        """Delete what the commit has just created, because its source is gone.

        If others have changed it meanwhile, it is theirs.
        """
        plan = decide(ref, None, written, self._replicator.policy, OWN_WRITE)
        if isinstance(plan, Delete):
            with suppress(LostRaceError):
                self._destination.delete(written.name, Precondition.unchanged(written))

    def _is_as_planned(self, replica: Replica | None, planned: Planned) -> bool:
        now = Precondition.unchanged(replica) if replica else ABSENT
        return now == planned.precondition

    def _superseded(self, name: str, source: SourceObject, replica: Replica | None) -> Result:
        return Result(
            ref=source.ref,
            uri=self._naming.uri(name),
            reason=Reason.SUPERSEDED,
            source=source,
            replica=replica,
            verified_by=BY_FINGERPRINT,
        )

    def _job(self, name: str, source: SourceObject) -> Job | None:
        storage_class = self._replicator.storage_classes.get(source.storage_class)
        job = self._assembler.job(source, name, storage_class, by_execution=True)
        return job if job and job.is_large else None
