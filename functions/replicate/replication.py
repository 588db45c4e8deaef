"""The protocol: make one destination object equal what S3 holds now.

The destination is read first and the source second; every change is conditioned on that reading of
the destination; after a change the source is read again, and only when it is still what was written
is the run done. No lock, no table, no state between runs. Why: docs/GUARANTEES.md.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from replicate import mapping
from replicate.errors import DestinationChangedError, SourceChangedError
from replicate.integrity import VerifyingBody
from replicate.mapping import Naming
from replicate.objects import (
    Outcome,
    Precondition,
    Reason,
    Replica,
    SourceObject,
    SourceRef,
    Status,
    VerifiedBy,
)
from replicate.plan import Copy, Delete, Done, Patch, Policy, decide
from replicate.ports import Body, Destination, Source


class Clock(Protocol):
    """All that the protocol knows of time."""

    def require(self) -> object:
        """Raises OutOfTimeError when no new work may begin."""


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
    deadline: Clock
    policy: Policy
    storage_classes: Mapping[str, str] = field(default_factory=dict)

    def replicate(self, ref: SourceRef, hint: Hint = LOOK_FIRST) -> Outcome:
        """Return when the destination equals the source. Raises ReplicationError."""
        run = _Run(ref=ref, name=self.naming.name(ref))
        assumed = hint.new
        opening = hint.changed
        replica = None if assumed else self.destination.head(run.name)
        while True:
            self.deadline.require()
            try:
                with self._look(ref, opening=opening) as (source, body):
                    plan = decide(ref, source, replica, self.policy)
                    if not isinstance(plan, Done):
                        replica = self._carry_out(plan, body, run)
                    elif not assumed:
                        return run.outcome(plan.reason, source, replica)
                    else:  # nothing is ever concluded from an assumption
                        replica = self.destination.head(run.name)
            except (SourceChangedError, DestinationChangedError):
                replica = self.destination.head(run.name)
            assumed = opening = False

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
                run.did(Reason.METADATA_UPDATED, VerifiedBy("etag", "crc32c"))
                return replace(patched, attributes=wanted)
            case Delete(replica):
                self.destination.delete(run.name, Precondition.unchanged(replica))
                run.did(Reason.DELETED, VerifiedBy("absent", "absent"))
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
        run.did(reason, VerifiedBy(checked.verified_by, "crc32c"), source.size)
        # As we wrote it: if GCS normalises a value, the next look must not call that a change.
        return replace(written, attributes=wanted)


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a run has done so far."""

    ref: SourceRef
    name: str
    did_last: Reason | None = None
    bytes_copied: int = 0
    verified_by: VerifiedBy = _RECOGNISED

    def did(self, reason: Reason, verified_by: VerifiedBy, bytes_copied: int = 0) -> None:
        self.did_last = reason
        self.verified_by = verified_by
        self.bytes_copied += bytes_copied

    def outcome(
        self, reason: Reason, source: SourceObject | None, replica: Replica | None
    ) -> Outcome:
        """The end of the run: what was done last says more than that it then was `current`."""
        if self.did_last is None:
            status = Status.SKIPPED
        else:
            status = Status.DELETED if self.did_last is Reason.DELETED else Status.REPLICATED
            if source is not None or status is Status.DELETED:
                reason = self.did_last
        return Outcome(
            ref=self.ref,
            name=self.name,
            status=status,
            reason=reason,
            source=source,
            replica=replica,
            bytes_copied=self.bytes_copied,
            verified_by=self.verified_by,
        )
