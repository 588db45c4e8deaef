"""Assembly: copy an object in parts in one invocation, and join them under the final name.

A part is a byte range of the source in a staged object of its own. Staged objects are the record of
what is done: a retry, or another run, uses those that are right. The object becomes visible only by
the last compose, under the precondition that the plan was made for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from replicate.errors import (
    ComponentGoneError,
    DestinationChangedError,
    DestinationForbiddenError,
    IntegrityError,
    LostRaceError,
    SourceChangedError,
)
from replicate.protocol.checksums import (
    UNCHECKED,
    PartGate,
    combined_crc32c,
    mismatch,
    range_checksum,
)
from replicate.protocol.compression import Probe, may_shrink
from replicate.protocol.model import (
    Attributes,
    Copied,
    EtagKind,
    Precondition,
    Replica,
    SourceObject,
    Span,
)
from replicate.protocol.parts import (
    Sizes,
    StagedNames,
    cut_into_parts,
    cut_into_slices,
    staging_folder,
    version_digest,
)
from replicate.protocol.ports import Body, CompressedSize, Destination, Parallel, Source, Stop
from replicate.protocol.staged import Job, bytes_sent, describe, record_fits

ATTEMPTS = 3
"""Attempts to create a staged object that others create, replace or delete at the same time.

Chosen, not measured: each attempt may send a part again. After three the run reads both sides.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembler:
    """Stages parts, joins them, and removes what is left."""

    source: Source
    destination: Destination
    prefix: str
    """The names of staged objects begin with it."""
    sizes: Sizes
    in_parallel: Parallel
    compressed_size: CompressedSize | None = None
    """Tells which bytes are sent compressed; without it none are."""

    def job(
        self,
        source: SourceObject,
        name: str,
        storage_class: str | None,
        *,
        by_execution: bool = False,
    ) -> Job | None:
        """Describe the work for one version; None if one stream is to copy it.

        With `by_execution` a large object is split into slices.

        One stream can check more: an MD5 or a SHA cannot be computed range by range, and a staged
        object holds the record of so many parts of S3 only. Raise DestinationForbiddenError when a
        large object cannot be staged.
        """
        if source.size < max(self.sizes.parallel_from, 2):
            return None
        is_large = by_execution and source.size >= self.sizes.large_from
        found = range_checksum(source, self.source)
        alignment = found.layout.size if found and found.layout else 1
        split = cut_into_slices if is_large else cut_into_parts
        cut = split(source.size, self.sizes, alignment)
        checksum = found if found and record_fits(found, cut) else None
        is_checked_by_stream = bool(found or source.checksums or source.etag_kind is EtagKind.MD5)
        if checksum is None and not is_large and is_checked_by_stream:
            return None
        if obstacle := self.destination.staging_obstacle():
            if not is_large:
                return None
            raise DestinationForbiddenError(
                f"{source.ref.uri} is too large for one stream, and parts of it cannot be staged:"
                f" {obstacle}. docs/DEPLOY.md says what the bucket needs for large objects."
            )
        folder = staging_folder(self.prefix, version_digest(source), name)
        return Job(
            source=source,
            names=StagedNames(folder, cut, storage_class),
            checksum=checksum,
            is_large=is_large,
        )

    def copy(
        self, job: Job, name: str, attributes: Attributes, precondition: Precondition
    ) -> Copied:
        """Copy a whole object in this invocation.

        Parts stay staged after an error, so that a retry uses them, unless their version is gone.
        """
        try:
            parts = self.stage_parts(job, range(job.cut.parts))
        except SourceChangedError:
            self.sweep(job.names.folder)
            raise
        return self.commit(job, name, attributes, precondition, parts)

    def probe(self, source: SourceObject, body: Body, size: int) -> Probe | None:
        """Find out whether `size` bytes of an object should be sent compressed; None: no need.

        What is returned is to be read instead of `body`.
        """
        if self.compressed_size is None or source.size < self.sizes.compress_from:
            return None
        if not may_shrink(source):
            return None
        return Probe(body, size, self.compressed_size)

    def join(
        self,
        name: str,
        attributes: Attributes,
        nodes: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None,
    ) -> Replica:
        """Make the object visible. Raise IntegrityError if GCS joined its parts to other bytes."""
        crc32c = combined_crc32c([(node.crc32c, node.size) for node in nodes])
        written = self.destination.compose(name, attributes, nodes, precondition, storage_class)
        if written.crc32c != crc32c or written.size != sum(node.size for node in nodes):
            self._discard(written)
            raise IntegrityError(
                f"GCS joined the parts of {name!r} to other bytes: CRC32C {written.crc32c} instead"
                f" of {crc32c}. The object was deleted. Try again."
            )
        return written

    def sweep(self, folder: str) -> None:
        """Delete the staged objects of one version. Others may delete them at the same time."""
        self.in_parallel(
            [partial(self._discard, staged) for staged in self.destination.list_prefix(folder)]
        )

    def _discard(self, staged: Replica, _: Stop | None = None) -> None:
        try:
            self.destination.delete(staged.name, Precondition(staged.generation))
        except DestinationChangedError:
            return

    def stage_parts(self, job: Job, numbers: Sequence[int]) -> list[Replica]:
        """Stage parts at the same time, unless they are staged. Raise LostRaceError."""
        return self.in_parallel([partial(self._stage_part, job, each) for each in numbers])

    def _stage_part(self, job: Job, number: int, stop: Stop) -> Replica:
        name, span = job.names.part(number), job.cut.part(number)
        return self.ensure_staged(job, name, span, lambda: self._send_part(job, name, span, stop))

    def ensure_staged(
        self, job: Job, name: str, span: Span, create: Callable[[], Replica]
    ) -> Replica:
        """Return the staged object if it is right, else create it.

        Raise LostRaceError when others are always faster: that says nothing about the object to be
        written.
        """
        attempts = ATTEMPTS
        while True:
            staged = self.destination.head(name)
            if staged is not None and job.is_held_by(staged, span):
                return staged
            try:
                if staged is not None:
                    self.destination.delete(name, Precondition(staged.generation))
                return create()
            except (DestinationChangedError, ComponentGoneError):  # others were faster: look again
                attempts -= 1
                if not attempts:
                    raise LostRaceError from None

    def _send_part(self, job: Job, name: str, span: Span, stop: Stop) -> Replica:
        """Copy one range into a staged object. Its checksum is known, and recorded, afterwards."""
        with self.source.open(job.source.ref, job.source, span) as body:
            if body is None:
                raise SourceChangedError
            probe = self.probe(job.source, body, span.size)
            gate = PartGate(probe or body, span.size, job.checksum, stop)
            with gate.counting():
                if probe and probe.shrinks:
                    return self._send_compressed(job, name, span, gate)
                attributes = describe(span)
                written = self.destination.write(
                    name, attributes, gate, Precondition(0), job.storage_class
                )
        if not job.needs_record:
            return replace(written, attributes=attributes)
        return self._patch(written, describe(span, gate.record))

    def _send_compressed(self, job: Job, name: str, span: Span, gate: PartGate) -> Replica:
        """Send one range as gzip. It says which range it is only after its bytes were compared.

        So a part that a killed run left with other bytes is never used.
        """
        written, sent = self.destination.write_compressed(
            name, describe(), gate, Precondition(0), job.storage_class
        )
        record = gate.record if job.needs_record else b""
        return self._patch(written, describe(span, record, sent))

    def _patch(self, written: Replica, attributes: Attributes) -> Replica:
        patched = self.destination.patch(written.name, attributes, written)
        return replace(patched, attributes=attributes)

    def commit(
        self,
        job: Job,
        name: str,
        attributes: Attributes,
        precondition: Precondition,
        nodes: Sequence[Replica],
    ) -> Copied:
        """Check the whole object, and make it visible. Raise IntegrityError, LostRaceError."""
        verified_by = self._verify(job, nodes)
        written = self.join(name, attributes, nodes, precondition, job.storage_class)
        return Copied(written, verified_by, bytes_sent(nodes))

    def _verify(self, job: Job, nodes: Sequence[Replica]) -> str:
        """Verify all parts: the commit gate. Raise IntegrityError unless all bytes match."""
        checksum = job.checksum
        if checksum is None:
            return f"{UNCHECKED}: S3 has no checksum that can be computed range by range"
        digest = checksum.digest_of(checksum.join(job.records(nodes)))
        if digest == checksum.digest:
            return checksum.name
        layout = checksum.layout
        if layout is not None and not self.source.has_layout(job.source, layout):
            return f"{UNCHECKED}: {layout.count} parts of unequal size"
        self.sweep(job.names.folder)
        raise mismatch(job.source, checksum.name, digest, checksum.digest)
