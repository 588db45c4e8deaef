"""The protocol with one part missing. The product's code is the same: only its ports are not.

Each flaw is where the part would show: a destination that ignores conditions is a protocol that
states none; a source that tells what it told before is a protocol that does not ask again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from fakes import FakeGcs, FakeS3, Pinned
from model.histories import REF
from model.runs import Answers, AskedDestination, AskedSource, Ports, Protocol

from replicate.protocol.model import (
    Attributes,
    Precondition,
    Replica,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.ports import Body, GatedBody


class Unconditional(FakeGcs):
    """No precondition: whatever is there is changed."""

    def require(self, name: str, precondition: Precondition) -> None:
        pass


class OnGeneration(FakeGcs):
    """No precondition on the metageneration: what was said about the object may have changed."""

    def require(self, name: str, precondition: Precondition) -> None:
        super().require(name, Precondition(precondition.generation))


class WithoutIfMatch(FakeS3):
    """No If-Match: the bytes of whatever is current are taken for those of the version wanted."""

    def pin(self, ref: SourceRef, version: SourceObject | None = None) -> Pinned | None:
        current = super().pin(ref)
        return Pinned(version, current.data) if version and current else current


class LooseSource(AskedSource):
    """Tells what it told before, where a protocol without one of its parts would not ask."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(answers)
        self._told: SourceObject | None = None
        self._is_asked = True

    def look_early(self) -> None:
        """Look now, instead of when the protocol asks next."""
        self._told = super().head(REF)
        self._is_asked = False

    def stop_looking(self) -> None:
        """Tell the same again, once: then the run ends."""
        self._is_asked = False

    def head(self, ref: SourceRef) -> SourceObject | None:
        if self._is_asked:
            self._told = super().head(ref)
        self._is_asked = True
        return self._told

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        with super().open(ref, version, span) as body:
            if version is None:
                self._told = body.object if body else None
            yield body


class LooseDestination(AskedDestination):
    """Tells its source when not to be asked."""

    def __init__(self, answers: Answers, source: LooseSource) -> None:
        super().__init__(answers)
        self._source = source


class SourceFirst(LooseDestination):
    """Order swapped: the source is read before the destination is."""

    def head(self, name: str) -> Replica | None:
        self._source.look_early()
        return super().head(name)


class Unverified(LooseDestination):
    """No look at the source after a change."""

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        written = super().write(name, attributes, body, precondition, storage_class)
        self._source.stop_looking()
        return written

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        patched = super().patch(name, attributes, current)
        self._source.stop_looking()
        return patched

    def delete(self, name: str, precondition: Precondition) -> None:
        super().delete(name, precondition)
        self._source.stop_looking()


class SourceFirstUnverified(Unverified, SourceFirst):
    """Both."""


class Blind(LooseDestination):
    """No reading of the destination: all is taken for new."""

    def head(self, name: str) -> Replica | None:  # noqa: ARG002
        return None


class Trusting(LooseDestination):
    """No look at the provenance: whatever is there is taken for a replica."""

    def head(self, name: str) -> Replica | None:
        found = super().head(name)
        if found is None:
            return None
        claimed = {"s3-source-bucket": REF.bucket, "s3-source-key": REF.key}
        metadata = {**found.attributes.metadata, **claimed}
        return replace(found, attributes=replace(found.attributes, metadata=metadata))


def loosely(destination: type[LooseDestination]) -> Protocol:
    """The protocol between a loose source and the destination that makes use of it."""

    def ports(answers: Answers) -> Ports:
        source = LooseSource(answers)
        return source, destination(answers, source)

    return Protocol(ports=ports)
