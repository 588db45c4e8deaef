"""Copying: how the bytes of one version get to GCS: in parts, or in one stream."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from replicate.errors import ReplicationError, SourceChangedError
from replicate.protocol.assembly import Assembler
from replicate.protocol.checksums import CommitGate
from replicate.protocol.model import (
    MIN_DURATION_DAYS,
    Copied,
    Replica,
    SourceObject,
    VerifiedBy,
)
from replicate.protocol.plan import Copy, md5_differs
from replicate.protocol.ports import Body, Destination, Source
from replicate.protocol.run import Run
from replicate.protocol.whole import names_of_whole, stage_whole


@dataclass(frozen=True, slots=True)
class Copier:
    """Carries out the plan to copy one version."""

    source: Source
    destination: Destination
    assembler: Assembler
    storage_classes: Mapping[str, str]

    def copy(self, plan: Copy, body: Body | None, run: Run) -> Replica:
        """Copy in parts, or in one stream that may be open already. Raise LostRaceError."""
        source = plan.source
        storage_class = self.storage_classes.get(source.storage_class)
        is_small = self._is_small(source)
        job = None if is_small else self.assembler.job(source, run.name, storage_class)
        if job:
            run.staged.add(job.names.folder)
            copied = self.assembler.copy(job, run.name, plan.attributes, plan.precondition)
            run.staged.discard(job.names.folder)
        elif body is not None:
            copied = self._copy_stream(plan, body, run, storage_class)
        else:
            with self.source.open(source.ref, source) as opened:
                if opened is None:
                    raise SourceChangedError
                copied = self._copy_stream(plan, opened, run, storage_class)
        verified_by = VerifiedBy(copied.verified_by, "crc32c")
        run.record_write(plan.reason, verified_by, source.size, copied.bytes_sent)
        # As it was written: if GCS normalises a value, the next round must not call it a change.
        written = replace(copied.replica, attributes=plan.attributes)
        # Another checksum has verified it. So the ETag is no MD5, and to copy again does not help.
        return replace(written, md5=None) if md5_differs(source, written) else written

    def sweep(self, run: Run) -> None:
        """Delete the parts that this run has staged and not joined, because another run was faster.

        A failure is no failure of the replication: the lifecycle rule deletes them later.
        """
        for folder in run.staged:
            with suppress(ReplicationError):
                self.assembler.sweep(folder)

    def _copy_stream(self, plan: Copy, body: Body, run: Run, storage_class: str | None) -> Copied:
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

    def _is_small(self, source: SourceObject) -> bool:
        """Return whether the object is neither copied in parts nor compressed, by its size."""
        sizes = self.assembler.sizes
        return source.size < min(sizes.parallel_from, sizes.compress_from)
