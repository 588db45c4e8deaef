"""Assembly: copy an object in parts, and join them under the final name in one request.

A part is a byte range of the source in a staged object of its own. Staged objects are the record of
what is done: a retry, or another run, uses those that are right. The object becomes visible only by
the last compose, under the precondition that the plan was made for.
"""

import base64
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
    CommitGate,
    PartGate,
    RangeChecksum,
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
    MAX_COMPONENTS,
    Cut,
    Sizes,
    StagedNames,
    cut_into_parts,
    cut_into_slices,
    groups,
    staging_folder,
    version_digest,
)
from replicate.protocol.ports import Body, CompressedSize, Destination, Parallel, Source, Stop

RANGE = "s3-staged-range"
"""Custom metadata of a staged object: the bytes of the source that it holds, `start-end`."""

RECORD = "s3-staged-checksum"
"""Custom metadata of a staged object: the checksum record of its bytes, in base64."""

SENT = "s3-staged-sent"
"""Custom metadata of a staged object that travelled compressed, whole or in part: bytes sent."""

MAX_RECORD_BYTES = 7 * 1024
"""GCS accepts 8 KiB of custom metadata. Source: "Cloud Storage quotas and limits"."""

ATTEMPTS = 3
"""Attempts to create a staged object that others create, replace or delete at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One version that is copied in parts."""

    source: SourceObject
    names: StagedNames
    checksum: RangeChecksum | None
    is_large: bool
    """An execution is to copy it."""

    @property
    def cut(self) -> Cut:
        return self.names.cut

    @property
    def storage_class(self) -> str | None:
        return self.names.storage_class


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

        A large object is split into slices if there are executions to copy it.

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
        checksum = found if found and _fits(found, cut) else None
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
            parts = self._stage_parts(job, range(job.cut.parts))
        except SourceChangedError:
            self.sweep(job.names.folder)
            raise
        return self._commit(job, name, attributes, precondition, parts)

    def stage_slice(self, job: Job, number: int) -> None:
        """Stage one slice, unless a group holds it already. Raise LostRaceError."""
        if job.cut.slices > MAX_COMPONENTS and self._found_group(job, number // MAX_COMPONENTS):
            return
        name, span = job.names.slice(number), job.cut.span(number)
        self._staged(job, name, span, lambda: self._stage_parts(job, job.cut.parts_of(number)))

    def join_slices(
        self, job: Job, name: str, attributes: Attributes, precondition: Precondition
    ) -> Copied:
        """Join all staged slices under the final name.

        Raise LostRaceError when a slice is missing or a precondition fails.
        """
        nodes = self._groups(job) if job.cut.slices > MAX_COMPONENTS else self._slices(job)
        return self._commit(job, name, attributes, precondition, nodes)

    def probe(self, source: SourceObject, body: Body, size: int) -> Probe | None:
        """Find out whether `size` bytes of an object should be sent compressed; None: no need.

        What is returned is to be read instead of `body`.
        """
        if self.compressed_size is None or source.size < self.sizes.compress_from:
            return None
        if not may_shrink(source):
            return None
        return Probe(body, size, self.compressed_size)

    def names_of_whole(
        self, source: SourceObject, name: str, storage_class: str | None
    ) -> StagedNames:
        """Return the names under which one stream is staged."""
        folder = staging_folder(self.prefix, version_digest(source), name)
        return StagedNames(folder, Cut(source.size, source.size, 1), storage_class)

    def stage_whole(self, names: StagedNames, gate: CommitGate) -> tuple[Replica, int]:
        """Stage an object in one compressed stream. Return how many bytes were sent, too.

        No other run uses the staged object, so nothing describes it. Raise LostRaceError when
        another run has just created it: that says nothing about the object to be written.
        """
        try:
            return self.destination.write_compressed(
                names.whole, _described(), gate, Precondition(0), names.storage_class
            )
        except DestinationChangedError:
            raise LostRaceError from None

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

    def _stage_parts(self, job: Job, numbers: Sequence[int]) -> list[Replica]:
        return self.in_parallel([partial(self._stage_part, job, each) for each in numbers])

    def _stage_part(self, job: Job, number: int, stop: Stop) -> Replica:
        name, span = job.names.part(number), job.cut.part(number)
        return self._use(job, name, span, lambda: self._send_part(job, name, span, stop))

    def _use(self, job: Job, name: str, span: Span, create: Callable[[], Replica]) -> Replica:
        """Return the staged object if it is right, else create it.

        Raise LostRaceError when others are always faster: that says nothing about the object to be
        written.
        """
        attempts = ATTEMPTS
        while True:
            staged = self.destination.head(name)
            if staged is not None and _is_staged(job, staged, span):
                return staged
            try:
                if staged is not None:
                    self.destination.delete(name, Precondition(staged.generation))
                return create()
            except (DestinationChangedError, ComponentGoneError):  # others were faster: look again
                attempts -= 1
                if not attempts:
                    raise LostRaceError from None

    def _staged(
        self, job: Job, name: str, span: Span, stage_components: Callable[[], Sequence[Replica]]
    ) -> Replica:
        """Return a staged object that is joined from others."""

        def create() -> Replica:
            components = stage_components()
            record = job.checksum.join(_records(job, components)) if job.checksum else b""
            described = _described(span, record, _sent(components))
            return self.destination.compose(
                name, described, components, Precondition(0), job.storage_class
            )

        return self._use(job, name, span, create)

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
                attributes = _described(span)
                written = self.destination.write(
                    name, attributes, gate, Precondition(0), job.storage_class
                )
        if not _needs_record(job):
            return replace(written, attributes=attributes)
        return self._describe(written, _described(span, gate.record))

    def _send_compressed(self, job: Job, name: str, span: Span, gate: PartGate) -> Replica:
        """Send one range as gzip. It says which range it is only after its bytes were compared.

        So a part that a killed run left with other bytes is never used.
        """
        written, sent = self.destination.write_compressed(
            name, _described(), gate, Precondition(0), job.storage_class
        )
        record = gate.record if _needs_record(job) else b""
        return self._describe(written, _described(span, record, sent))

    def _describe(self, written: Replica, attributes: Attributes) -> Replica:
        described = self.destination.patch(written.name, attributes, written)
        return replace(described, attributes=attributes)

    def _slices(self, job: Job) -> list[Replica]:
        return self.in_parallel(
            [partial(self._slice, job, number) for number in range(job.cut.slices)]
        )

    def _slice(self, job: Job, number: int, _: Stop | None = None) -> Replica:
        staged = self.destination.head(job.names.slice(number))
        if staged is None or not _is_staged(job, staged, job.cut.span(number)):
            raise LostRaceError
        return staged

    def _groups(self, job: Job) -> list[Replica]:
        """Check that every slice exists before joining any group.

        If one is missing, nothing is joined.
        """
        numbers = range(len(groups(job.cut.slices)))
        found = self.in_parallel([partial(self._group_or_slices, job, each) for each in numbers])
        return self.in_parallel(
            [partial(self._group, job, *each) for each in zip(numbers, found, strict=True)]
        )

    def _group_or_slices(self, job: Job, number: int, _: Stop) -> list[Replica]:
        """Return a staged group, or else its slices. Raise LostRaceError."""
        if group := self._found_group(job, number):
            return [group]
        return [self._slice(job, each) for each in groups(job.cut.slices)[number]]

    def _group(self, job: Job, number: int, found: Sequence[Replica], _: Stop) -> Replica:
        name = job.names.group(number)
        if found[0].name == name:
            return found[0]
        return self._staged(job, name, _span_of_group(job.cut, number), lambda: found)

    def _found_group(self, job: Job, number: int) -> Replica | None:
        group = self.destination.head(job.names.group(number))
        is_right = group is not None and _is_staged(job, group, _span_of_group(job.cut, number))
        return group if is_right else None

    def _commit(
        self,
        job: Job,
        name: str,
        attributes: Attributes,
        precondition: Precondition,
        nodes: Sequence[Replica],
    ) -> Copied:
        """Check the whole object, and make it visible."""
        verified_by = self._verify(job, nodes)
        written = self.join(name, attributes, nodes, precondition, job.storage_class)
        return Copied(written, verified_by, _sent(nodes))

    def _verify(self, job: Job, nodes: Sequence[Replica]) -> str:
        """Verify all parts: the commit gate. Raise IntegrityError unless all bytes match."""
        checksum = job.checksum
        if checksum is None:
            return f"{UNCHECKED}: S3 has no checksum that can be computed range by range"
        digest = checksum.digest_of(checksum.join(_records(job, nodes)))
        if digest == checksum.digest:
            return checksum.name
        layout = checksum.layout
        if layout is not None and not self.source.has_layout(job.source, layout):
            return f"{UNCHECKED}: {layout.count} parts of unequal size"
        self.sweep(job.names.folder)
        raise mismatch(job.source, checksum.name, digest, checksum.digest)


def _span_of_group(cut: Cut, number: int) -> Span:
    slices = groups(cut.slices)[number]
    return Span(cut.span(slices[0]).start, cut.span(slices[-1]).end)


def _fits(checksum: RangeChecksum, cut: Cut) -> bool:
    """Whether the record of the largest staged object fits into its custom metadata.

    For a checksum over S3's parts that record holds one digest for each of these parts.
    """
    if checksum.layout is None:
        return True
    parts = cut.parts_per_slice * (MAX_COMPONENTS if cut.slices > MAX_COMPONENTS else 1)
    largest = cut.part_size * (parts if cut.slices > 1 else 1)
    digests = -(-largest // checksum.layout.size)
    return digests * len(checksum.digest) * 4 // 3 <= MAX_RECORD_BYTES


def _needs_record(job: Job) -> bool:
    """Return whether a staged object has a record in its metadata. GCS itself has the CRC32C."""
    return job.checksum is not None and job.checksum.name != "crc32c"


def _records(job: Job, staged: Sequence[Replica]) -> list[tuple[bytes, int]]:
    if not _needs_record(job):
        return [(base64.b64decode(each.crc32c), each.size) for each in staged]
    return [(base64.b64decode(each.attributes.metadata[RECORD]), each.size) for each in staged]


def _is_staged(job: Job, staged: Replica, span: Span) -> bool:
    """Return whether a staged object holds a range completely, with its checksum."""
    metadata = staged.attributes.metadata
    return (
        staged.size == span.size
        and metadata.get(RANGE) == f"{span.start}-{span.end}"
        and (RECORD in metadata or not _needs_record(job))
    )


def _sent(nodes: Sequence[Replica]) -> int:
    """Return how many bytes were sent for staged objects: those of a plain one are its size."""
    return sum(int(node.attributes.metadata.get(SENT, node.size)) for node in nodes)


def _described(
    span: Span | None = None, record: bytes = b"", sent: int | None = None
) -> Attributes:
    """Describe a staged object. Without a span it is not known to be right."""
    metadata: dict[str, str] = {}
    if span:
        metadata[RANGE] = f"{span.start}-{span.end}"
    if record:
        metadata[RECORD] = base64.b64encode(record).decode()
    if span and sent not in {None, span.size}:
        metadata[SENT] = str(sent)
    return Attributes(
        content_type="application/octet-stream",
        cache_control=None,
        content_disposition=None,
        content_encoding=None,
        content_language=None,
        custom_time=None,
        metadata=metadata,
    )
