"""Stores that count requests and take modelled time. They hold descriptions and no bytes.

The checksum of every range is 0, and so is that of the object.
"""

import base64
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from replicate.errors import ComponentGoneError, DestinationChangedError
from replicate.protocol.model import (
    Attributes,
    Checksum,
    PartLayout,
    Precondition,
    Replica,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.parts import PARTS_AT_ONCE
from replicate.protocol.ports import Body, GatedBody, Stop

T = TypeVar("T")

ROUND_TRIP_S = 0.03
"""Every request takes one. How long GCS takes for a compose is not known."""

S3, CLASS_A, CLASS_B, FREE = "S3", "class A", "class B", "free"
"""Kinds of requests. Source of GCS's classes: "Pricing" in its documentation."""


@dataclass(slots=True)
class Clock:
    """Time and requests. Tasks that overlap run one after the other, each from its own start."""

    bytes_per_s: float
    """Bandwidth of one function."""
    now: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    connections: int = 1
    """Those that share the bandwidth of the current function."""

    def request(self, kind: str) -> None:
        self.requests[kind] += 1
        self.now += ROUND_TRIP_S

    def transfer(self, count: int) -> None:
        self.now += count * self.connections / self.bytes_per_s

    def schedule(self, tasks: Iterable[Callable[[], T]], count: int) -> list[T]:
        """Run each task when one of `count` workers is free. Then it is as late as the last end."""
        free_at = [self.now] * count
        results = []
        for task in tasks:
            self.now = free_at[0]
            results.append(task())
            heapq.heapreplace(free_at, self.now)
        self.now = max(free_at)
        return results

    def in_parallel(self, tasks: Sequence[Callable[[Stop], T]]) -> list[T]:
        """Run tasks on the connections of one function: `Parallel` of the protocol."""
        stop, before = Stop(), self.connections
        self.connections = max(1, min(PARTS_AT_ONCE, len(tasks)))
        try:
            return self.schedule([_bound(task, stop) for task in tasks], self.connections)
        finally:
            self.connections = before


def _bound(task: Callable[[Stop], T], stop: Stop) -> Callable[[], T]:
    return lambda: task(stop)


@dataclass(frozen=True, slots=True)
class _Unread:
    """A body that nobody reads."""

    object: SourceObject

    def readinto(self, buffer: memoryview) -> int:
        raise NotImplementedError

    def rewind(self, offset: int) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class ModelledS3:
    """A source with one object of `size` bytes: `Source` of the protocol."""

    clock: Clock
    size: int

    def head(self, ref: SourceRef) -> SourceObject:
        self.clock.request(S3)
        return SourceObject(
            ref=ref,
            etag="0123456789abcdef0123456789abcdef-10000",
            size=self.size,
            last_modified=datetime(2026, 11, 1, 12, tzinfo=UTC),
            checksums=(Checksum("CRC64NVME", _zeros(8)),),
        )

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body]:
        del span  # the bytes pass when they are written
        if version is None:
            version = self.head(ref)
        else:
            self.clock.request(S3)
        yield _Unread(version)

    def part_layout(self, version: SourceObject) -> PartLayout | None:
        raise NotImplementedError

    def has_layout(self, version: SourceObject, layout: PartLayout) -> bool:
        raise NotImplementedError


@dataclass(slots=True)
class ModelledGcs:
    """A bucket: `Destination` of the protocol."""

    clock: Clock
    objects: dict[str, Replica] = field(default_factory=dict)
    generation: int = 0

    def head(self, name: str) -> Replica | None:
        self.clock.request(CLASS_B)
        return self.objects.get(name)

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """Open a session, send the bytes, and finish: three requests, one class A operation."""
        del storage_class
        for kind in (CLASS_A, FREE, FREE):
            self.clock.request(kind)
        self.clock.transfer(body.size)
        return self._create(name, attributes, body.size, precondition)

    def write_compressed(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> tuple[Replica, int]:
        """Write as it is: the modelled bytes do not shrink."""
        return self.write(name, attributes, body, precondition, storage_class), body.size

    def compose(
        self,
        name: str,
        attributes: Attributes,
        components: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        del storage_class
        self.clock.request(CLASS_A)
        for source in components:
            if self.objects.pop(source.name, None) != source:
                raise ComponentGoneError
        return self._create(name, attributes, sum(each.size for each in components), precondition)

    def staging_obstacle(self) -> None:
        """Nothing prevents staging. Each environment asks once, which is not counted."""

    def list_prefix(self, prefix: str) -> list[Replica]:
        self.clock.request(CLASS_A)
        return [found for name, found in self.objects.items() if name.startswith(prefix)]

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        self.clock.request(CLASS_A)
        if self.objects.get(name) != current:
            raise DestinationChangedError
        changed = replace(current, attributes=attributes, metageneration=current.metageneration + 1)
        self.objects[name] = changed
        return changed

    def delete(self, name: str, precondition: Precondition) -> None:
        self.clock.request(FREE)
        self._require(name, precondition)
        self.objects.pop(name, None)

    def _create(
        self, name: str, attributes: Attributes, size: int, precondition: Precondition
    ) -> Replica:
        self._require(name, precondition)
        self.generation += 1
        self.objects[name] = Replica(
            name=name,
            generation=self.generation,
            metageneration=1,
            size=size,
            attributes=attributes,
            crc32c=_zeros(4),
        )
        return self.objects[name]

    def _require(self, name: str, precondition: Precondition) -> None:
        found = self.objects.get(name)
        if (found.generation if found else 0) != precondition.generation:
            raise DestinationChangedError


def _zeros(count: int) -> str:
    """Return a checksum of `count` bytes that is 0, in base64."""
    return base64.b64encode(bytes(count)).decode()
