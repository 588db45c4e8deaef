"""Runs of the real `Replicator.replicate`, each suspended at every call to a port.

A run is a function of the responses of the ports. So it needs no thread. To advance it by one call,
it is run again from its start with the responses that it had. At the first call without a response
it is stopped. The scheduler decides when that call is executed, if at all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from fakes import FakeGcs, FakeS3, Pinned, assembler, read_checked

from replicate.errors import ReplicationError, SourceChangedError
from replicate.protocol.evidence import HINT, Evidence
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    Attributes,
    Expectation,
    PartLayout,
    Precondition,
    Replica,
    Result,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.plan import Policy
from replicate.protocol.ports import Body, Destination, GatedBody, Source
from replicate.protocol.replicator import Replicator

NAMING = Naming("destination")


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores that all runs share."""

    s3: FakeS3
    gcs: FakeGcs


Alternative = Callable[[Stores], object]


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a port, and its possible effects. Calls of the same text are equal."""

    verb: str
    text: str
    alternatives: tuple[Alternative, ...] = field(compare=False)
    changes: str | None = None
    """Name of the GCS object that it writes, patches or deletes."""

    @property
    def only_reads_source(self) -> bool:
        return self.verb.startswith("S3 ")


class SuspendedError(BaseException):
    """Ends a run at a call. A BaseException, so that no code of the protocol handles it."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.call = call


class Replay:
    """Returns the responses that a run had before, in order, and then suspends the run."""

    def __init__(self, responses: Sequence[object]) -> None:
        self._rest = iter(responses)

    def call(  # the type of the response depends on the call
        self, verb: str, text: str, *alternatives: Alternative, changes: str | None = None
    ) -> Any:  # noqa: ANN401
        for response in self._rest:
            if isinstance(response, Exception):
                raise response.with_traceback(None)
            return response
        raise SuspendedError(Call(verb, text, alternatives, changes))


class ReplayedSource:
    """The source of a suspended run."""

    def __init__(self, replay: Replay) -> None:
        self._call = replay.call

    def head(self, ref: SourceRef) -> SourceObject | None:
        source: SourceObject | None = self._call("S3 HEAD", ref.key, lambda on: on.s3.head(ref))
        return source

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        pinned: Pinned | None = self._call(
            "S3 GET", f"{ref.key} If-Match {version} {span}", lambda on: on.s3.pin(ref, version)
        )
        yield ReplayedBody(self._call, pinned, span) if pinned else None

    def part_layout(self, version: SourceObject) -> None:
        """Return no layout, so that only the protocol can keep the pieces together."""

    def has_layout(self, version: SourceObject, layout: PartLayout) -> NoReturn:
        raise NotImplementedError


class ReplayedBody:
    """An open stream. It may break at any time; the rest is then read again with If-Match."""

    def __init__(self, call: Callable[..., Any], pinned: Pinned, span: Span | None = None) -> None:
        self._call = call
        self._pinned = pinned
        self._span = span or Span(0, len(pinned.data))
        self._position = 0

    @property
    def object(self) -> SourceObject:
        return self._pinned.object

    def readinto(self, buffer: memoryview) -> int:
        start = self._span.start + self._position
        piece = slice(start, min(start + len(buffer), self._span.end))

        def stream(_: Stores) -> bytes:
            return self._pinned.data[piece]

        def resume(on: Stores) -> bytes:
            pinned = on.s3.pin(self.object.ref, self.object)
            if pinned is None:
                raise SourceChangedError
            return pinned.data[piece]

        data: bytes = self._call("S3 read", f"{piece} of {self._pinned}", stream, resume)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def rewind(self, offset: int) -> NoReturn:
        raise NotImplementedError


class OpaqueGeneration(int):
    """A generation that a run may pass back or test for 0, but not compare.

    So the scheduler need not know how old a generation is that is not live any more.
    """

    def _refuse(self, _: object) -> NoReturn:
        raise TypeError("The protocol compares generations.")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = int.__hash__


class ReplayedDestination:
    """The destination of a suspended run. A write is one call for each piece, and the commit."""

    def __init__(self, replay: Replay, piece_bytes: int = 1024) -> None:
        self._call = replay.call
        self._piece_bytes = piece_bytes

    def received(self, replica: Replica) -> Replica:
        """Return a replica as the protocol sees it."""
        return _opaque(replica)

    def head(self, name: str) -> Replica | None:
        replica: Replica | None = self._call("GCS head", name, lambda on: on.gcs.head(name))
        return self.received(replica) if replica else None

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        data = read_checked(body, self._piece_bytes)
        expected = _plain(precondition)
        return self.received(
            self._call(
                "GCS write",
                f"{name} {data!r} {attributes} if {expected}",
                lambda on: on.gcs.commit(name, attributes, data, expected, storage_class),
                changes=name,
            )
        )

    def write_compressed(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> tuple[Replica, int]:
        return self.write(name, attributes, body, precondition, storage_class), 1

    def compose(
        self,
        name: str,
        attributes: Attributes,
        components: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        expected = _plain(precondition)
        pinned = [replace(each, generation=int(each.generation)) for each in components]
        pins = [(each.name, each.generation) for each in pinned]
        return self.received(
            self._call(
                "GCS compose",
                f"{name} {pins} {attributes} if {expected}",
                lambda on: on.gcs.compose(name, attributes, pinned, expected, storage_class),
                changes=name,
            )
        )

    def staging_obstacle(self) -> None:
        return None

    def list_prefix(self, prefix: str) -> list[Replica]:
        replicas: list[Replica] = self._call(
            "GCS list", prefix, lambda on: on.gcs.list_prefix(prefix)
        )
        return [self.received(each) for each in replicas]

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        expected = replace(
            current,
            generation=int(current.generation),
            metageneration=int(current.metageneration),
        )
        return self.received(
            self._call(
                "GCS patch",
                f"{name} {attributes} if {Precondition.unchanged(expected)}",
                lambda on: on.gcs.patch(name, attributes, expected),
                changes=name,
            )
        )

    def delete(self, name: str, precondition: Precondition) -> None:
        expected = _plain(precondition)
        self._call(
            "GCS delete",
            f"{name} if {expected}",
            lambda on: on.gcs.delete(name, expected),
            changes=name,
        )


def _opaque(replica: Replica) -> Replica:
    return replace(
        replica,
        generation=OpaqueGeneration(replica.generation),
        metageneration=OpaqueGeneration(replica.metageneration),
    )


def _plain(precondition: Precondition) -> Precondition:
    metageneration = precondition.metageneration
    return Precondition(
        int(precondition.generation), None if metageneration is None else int(metageneration)
    )


Ports = tuple[Source, Destination]
PortsOf = Callable[[Replay], Ports]


def faithful(replay: Replay) -> Ports:
    """Return both stores unchanged."""
    return ReplayedSource(replay), ReplayedDestination(replay)


def byte_by_byte(replay: Replay) -> Ports:
    """Return both stores, where every object is read one byte at a time."""
    return ReplayedSource(replay), ReplayedDestination(replay, piece_bytes=1)


class UnlimitedClock:
    """A clock without a deadline, for runs of which only the order of calls counts."""

    def monotonic(self) -> float:
        return 0.0

    def require(self) -> None:
        """Allow every round."""

    def pause(self, lost_races: int) -> None:
        """Do not wait. The scheduler lets time pass between any two calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The policy and the ports of a run."""

    policy: Policy = field(default_factory=Policy)
    ports: PortsOf = faithful
    """The ports. Flawed ports are equivalent to a flawed protocol."""

    def advance(
        self,
        ref: SourceRef,
        expectation: Expectation,
        responses: Sequence[object],
        evidence: Evidence = HINT,
    ) -> Call | Result | ReplicationError:
        """Return the first call without a response, or the result or error of the run."""
        source, destination = self.ports(Replay(responses))
        replicator = Replicator(
            source=source,
            destination=destination,
            naming=NAMING,
            clock=UnlimitedClock(),
            policy=self.policy,
            assembler=assembler(source, destination),
        )
        try:
            return replicator.replicate(ref, expectation, evidence=evidence)
        except SuspendedError as suspended:
            return suspended.call
        except ReplicationError as error:
            return error


def brief(response: object) -> str:
    """Return a short text for a response, for the report of a schedule."""
    match response:
        case SourceObject(etag=etag, last_modified=at):
            return f"{etag[:4]} of {at}"
        case Pinned(object=version, data=data):
            return f"{data!r} as {brief(version)}"
        case Replica(generation=generation, metageneration=metageneration, attributes=attributes):
            etag = attributes.metadata.get("s3-source-etag", "none")
            return f"{etag[:4]} of {attributes.custom_time} ({generation}.{metageneration})"
        case Exception():
            return type(response).__name__
        case _:
            return repr(response)
