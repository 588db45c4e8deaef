"""Slices: the parts of a large object that one invocation each has staged, and how they are joined.

A compose joins 32 objects. So up to 32 slices are joined under the final name at once, and more of
them by way of groups.
"""

from collections.abc import Callable, Sequence
from functools import partial

from replicate.errors import LostRaceError
from replicate.protocol.assembly import Assembler
from replicate.protocol.model import Attributes, Copied, Precondition, Replica, Span
from replicate.protocol.parts import MAX_COMPONENTS, Cut, groups
from replicate.protocol.ports import Stop
from replicate.protocol.staged import Job, bytes_sent, describe


class Slices:
    """Stages the slices of large objects, and joins them."""

    def __init__(self, assembler: Assembler) -> None:
        self._assembler = assembler
        self._destination = assembler.destination
        self._in_parallel = assembler.in_parallel

    def stage(self, job: Job, number: int) -> None:
        """Stage one slice, unless a group holds it already. Raise LostRaceError."""
        if job.cut.slices > MAX_COMPONENTS and self._find_group(job, number // MAX_COMPONENTS):
            return
        parts = job.cut.parts_of(number)
        self._ensure_composed(
            job,
            job.names.slice(number),
            job.cut.span(number),
            lambda: self._assembler.stage_parts(job, parts),
        )

    def join(
        self, job: Job, name: str, attributes: Attributes, precondition: Precondition
    ) -> Copied:
        """Join all staged slices under the final name.

        Raise LostRaceError when a slice is missing or a precondition fails.
        """
        has_groups = job.cut.slices > MAX_COMPONENTS
        nodes = self._join_to_groups(job) if has_groups else self._require_all(job)
        return self._assembler.commit(job, name, attributes, precondition, nodes)

    def _ensure_composed(
        self, job: Job, name: str, span: Span, stage_components: Callable[[], Sequence[Replica]]
    ) -> Replica:
        """Return a staged object that is joined from others. Raise LostRaceError."""

        def compose() -> Replica:
            components = stage_components()
            record = job.checksum.join(job.records(components)) if job.checksum else b""
            described = describe(span, record, bytes_sent(components))
            return self._destination.compose(
                name, described, components, Precondition(0), job.storage_class
            )

        return self._assembler.ensure_staged(job, name, span, compose)

    def _require_all(self, job: Job) -> list[Replica]:
        """Return all slices. Raise LostRaceError if one is missing."""
        return self._in_parallel(
            [partial(self._require_slice, job, number) for number in range(job.cut.slices)]
        )

    def _require_slice(self, job: Job, number: int, _: Stop | None = None) -> Replica:
        staged = self._destination.head(job.names.slice(number))
        if staged is None or not job.is_held_by(staged, job.cut.span(number)):
            raise LostRaceError
        return staged

    def _join_to_groups(self, job: Job) -> list[Replica]:
        """Return all groups. Check that every slice exists before joining any group.

        If one is missing, nothing is joined.
        """
        numbers = range(len(groups(job.cut.slices)))
        found = self._in_parallel(
            [partial(self._find_group_or_slices, job, each) for each in numbers]
        )
        return self._in_parallel(
            [partial(self._ensure_group, job, *each) for each in zip(numbers, found, strict=True)]
        )

    def _find_group_or_slices(self, job: Job, number: int, _: Stop) -> list[Replica]:
        """Return a staged group, or else its slices. Raise LostRaceError."""
        if group := self._find_group(job, number):
            return [group]
        return [self._require_slice(job, each) for each in groups(job.cut.slices)[number]]

    def _ensure_group(self, job: Job, number: int, found: Sequence[Replica], _: Stop) -> Replica:
        """Return a staged group that was found, or join it from the slices that were."""
        name = job.names.group(number)
        if found[0].name == name:
            return found[0]
        return self._ensure_composed(job, name, _span_of_group(job.cut, number), lambda: found)

    def _find_group(self, job: Job, number: int) -> Replica | None:
        group = self._destination.head(job.names.group(number))
        is_right = group is not None and job.is_held_by(group, _span_of_group(job.cut, number))
        return group if is_right else None


def _span_of_group(cut: Cut, number: int) -> Span:
    slices = groups(cut.slices)[number]
    return Span(cut.span(slices[0]).start, cut.span(slices[-1]).end)
