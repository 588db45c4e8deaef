"""Variants of the protocol with one part missing. Only the ports are changed, not the code.

A flawed port is equivalent to a flawed protocol. A destination that ignores preconditions stands
for a protocol that sends none. A source that repeats its last response stands for a protocol that
does not read again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from fakes import FakeGcs, FakeS3, Pinned
from model.histories import REF
from model.runs import Ports, Protocol, Replay, ReplayedDestination, ReplayedSource

from replicate.protocol.model import (
    Attributes,
    Precondition,
    Replica,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.ports import Body, GatedBody


class WithoutPrecondition(FakeGcs):
    """Ignores preconditions."""

    def require(self, name: str, precondition: Precondition) -> None:
        pass


class WithoutMetageneration(FakeGcs):
    """Ignores preconditions on the metageneration, so the attributes may have changed."""

    def require(self, name: str, precondition: Precondition) -> None:
        super().require(name, Precondition(precondition.generation))


class WithoutIfMatch(FakeS3):
    """Ignores If-Match: returns the bytes of the current version as those of the wanted one."""

    def pin(self, ref: SourceRef, version: SourceObject | None = None) -> Pinned | None:
        current = super().pin(ref)
        return Pinned(version, current.data) if version and current else current


class CachingSource(ReplayedSource):
    """Repeats its last response where a protocol without one of its parts would not read."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay)
        self._last_read: SourceObject | None = None
        self._reads = True

    def read_early(self) -> None:
        """Read now, instead of when the protocol reads next."""
        self._last_read = super().head(REF)
        self._reads = False

    def skip_next_read(self) -> None:
        """Repeat the last response once, so that the run ends."""
        self._reads = False

    def head(self, ref: SourceRef) -> SourceObject | None:
        if self._reads:
            self._last_read = super().head(ref)
        self._reads = True
        return self._last_read

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        with super().open(ref, version, span) as body:
            if version is None:
                self._last_read = body.object if body else None
            yield body


class FlawedDestination(ReplayedDestination):
    """A destination that tells its source when to repeat the last response."""

    def __init__(self, replay: Replay, source: CachingSource) -> None:
        super().__init__(replay)
        self._source = source


class SourceFirst(FlawedDestination):
    """Reads the source before the destination."""

    def head(self, name: str) -> Replica | None:
        self._source.read_early()
        return super().head(name)


class WithoutVerify(FlawedDestination):
    """Does not read the source after a write."""

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        written = super().write(name, attributes, body, precondition, storage_class)
        self._source.skip_next_read()
        return written

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        patched = super().patch(name, attributes, current)
        self._source.skip_next_read()
        return patched

    def delete(self, name: str, precondition: Precondition) -> None:
        super().delete(name, precondition)
        self._source.skip_next_read()


class SourceFirstWithoutVerify(WithoutVerify, SourceFirst):
    """Reads the source before the destination, and not after a write."""


class WithoutRead(FlawedDestination):
    """Does not read the destination: every object is taken for a new one."""

    def head(self, name: str) -> Replica | None:  # noqa: ARG002
        return None


class WithoutProvenanceCheck(FlawedDestination):
    """Does not check the provenance: every object is taken for a replica."""

    def head(self, name: str) -> Replica | None:
        replica = super().head(name)
        if replica is None:
            return None
        claimed = {"s3-source-bucket": REF.bucket, "s3-source-key": REF.key}
        metadata = {**replica.attributes.metadata, **claimed}
        return replace(replica, attributes=replace(replica.attributes, metadata=metadata))


def flawed_protocol(destination: type[FlawedDestination]) -> Protocol:
    """Return the protocol between a caching source and a flawed destination."""

    def ports(replay: Replay) -> Ports:
        source = CachingSource(replay)
        return source, destination(replay, source)

    return Protocol(ports=ports)
