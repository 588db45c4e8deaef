"""Runs of the real `Replicator.replicate`, each suspended at every call to a port.

A run is a function of what the ports have answered it. So it needs no thread: to take it one call
further it is run again from its start, is given the answers it had, and at the first call that has
no answer yet it is stopped. That call is then carried out, or not, whenever the scheduler likes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from fakes import FakeGcs, FakeS3, Pinned, read_checked

from replicate.errors import ReplicationError, SourceChangedError
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    Attributes,
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
from replicate.protocol.replicator import Expectation, Replicator

NAMING = Naming("destination")


@dataclass(frozen=True, slots=True)
class Stores:
    """What all runs share."""

    s3: FakeS3
    gcs: FakeGcs


Way = Callable[[Stores], object]


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a port, and the ways it may go. Calls of the same text are the same."""

    verb: str
    text: str
    ways: tuple[Way, ...] = field(compare=False)
    changes: str | None = None
    """Name of the object in GCS that it writes, patches or deletes."""

    @property
    def only_reads_source(self) -> bool:
        return self.verb.startswith("S3 ")


class SuspendedError(BaseException):
    """Passes through everything that handles exceptions."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.call = call


class Answers:
    """Gives a run the answers it had before, in order."""

    def __init__(self, answers: Sequence[object]) -> None:
        self._rest = iter(answers)

    def ask(self, verb: str, text: str, *ways: Way, changes: str | None = None) -> Any:  # noqa: ANN401 - each call knows what it asked
        for answer in self._rest:
            if isinstance(answer, Exception):
                raise answer.with_traceback(None)
            return answer
        raise SuspendedError(Call(verb, text, ways, changes))


class AskedSource:
    """S3 as a suspended run sees it."""

    def __init__(self, answers: Answers) -> None:
        self._ask = answers.ask

    def head(self, ref: SourceRef) -> SourceObject | None:
        found: SourceObject | None = self._ask("S3 HEAD", ref.key, lambda on: on.s3.head(ref))
        return found

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        pinned: Pinned | None = self._ask(
            "S3 GET", f"{ref.key} If-Match {version} {span}", lambda on: on.s3.pin(ref, version)
        )
        yield AskedBody(self._ask, pinned, span) if pinned else None

    def part_layout(self, version: SourceObject) -> NoReturn:
        raise NotImplementedError

    def has_layout(self, version: SourceObject, layout: PartLayout) -> NoReturn:
        raise NotImplementedError


class AskedBody:
    """An open stream. It may break at any time: then the rest is asked for again, with If-Match."""

    def __init__(self, ask: Callable[..., Any], pinned: Pinned, span: Span | None = None) -> None:
        self._ask = ask
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

        data: bytes = self._ask("S3 read", f"{piece} of {self._pinned}", stream, resume)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def rewind(self, offset: int) -> NoReturn:
        raise NotImplementedError


class Stamp(int):
    """A generation: a run may hand it back, and say whether it is 0, but not compare it.

    That is why the scheduler may forget how old a generation is that is not live any more.
    """

    def _refuse(self, _: object) -> NoReturn:
        raise TypeError("The protocol compares generations.")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = int.__hash__


class AskedDestination:
    """GCS as a suspended run sees it. A write is many calls: one for each piece, and the commit."""

    def __init__(self, answers: Answers, piece_bytes: int = 1024) -> None:
        self._ask = answers.ask
        self._piece_bytes = piece_bytes

    def received(self, replica: Replica) -> Replica:
        """Return what the protocol sees of a replica."""
        return _stamped(replica)

    def head(self, name: str) -> Replica | None:
        found: Replica | None = self._ask("GCS head", name, lambda on: on.gcs.head(name))
        return self.received(found) if found else None

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        data = read_checked(body, self._piece_bytes)
        expected = _readable(precondition)
        return self.received(
            self._ask(
                "GCS write",
                f"{name} {data!r} {attributes} if {expected}",
                lambda on: on.gcs.commit(name, attributes, data, expected, storage_class),
                changes=name,
            )
        )

    def compose(
        self,
        name: str,
        attributes: Attributes,
        sources: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        expected = _readable(precondition)
        pinned = [replace(each, generation=int(each.generation)) for each in sources]
        pins = [(each.name, each.generation) for each in pinned]
        return self.received(
            self._ask(
                "GCS compose",
                f"{name} {pins} {attributes} if {expected}",
                lambda on: on.gcs.compose(name, attributes, pinned, expected, storage_class),
                changes=name,
            )
        )

    def staging_obstacle(self) -> None:
        return None

    def list_prefix(self, prefix: str) -> list[Replica]:
        found: list[Replica] = self._ask("GCS list", prefix, lambda on: on.gcs.list_prefix(prefix))
        return [self.received(each) for each in found]

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        expected = replace(
            current,
            generation=int(current.generation),
            metageneration=int(current.metageneration),
        )
        return self.received(
            self._ask(
                "GCS patch",
                f"{name} {attributes} if {Precondition.unchanged(expected)}",
                lambda on: on.gcs.patch(name, attributes, expected),
                changes=name,
            )
        )

    def delete(self, name: str, precondition: Precondition) -> None:
        expected = _readable(precondition)
        self._ask(
            "GCS delete",
            f"{name} if {expected}",
            lambda on: on.gcs.delete(name, expected),
            changes=name,
        )


def _stamped(replica: Replica) -> Replica:
    return replace(
        replica,
        generation=Stamp(replica.generation),
        metageneration=Stamp(replica.metageneration),
    )


def _readable(precondition: Precondition) -> Precondition:
    metageneration = precondition.metageneration
    return Precondition(
        int(precondition.generation), None if metageneration is None else int(metageneration)
    )


Ports = tuple[Source, Destination]
PortsOf = Callable[[Answers], Ports]


def faithful(answers: Answers) -> Ports:
    """Both stores, and nothing in between."""
    return AskedSource(answers), AskedDestination(answers)


def byte_by_byte(answers: Answers) -> Ports:
    """Both stores, and every object a large one."""
    return AskedSource(answers), AskedDestination(answers, piece_bytes=1)


class Timeless:
    """A clock for runs of which only the order of their calls counts."""

    def monotonic(self) -> float:
        return 0.0

    def require(self) -> None:
        """Let every round begin."""

    def pause(self, lost_races: int) -> None:
        """Do not wait: the scheduler lets time pass between any two calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What a run is started with."""

    policy: Policy = field(default_factory=Policy)
    ports: PortsOf = faithful
    """Where the protocol can be broken, without the product's code knowing of it."""

    def advance(
        self, ref: SourceRef, hint: Expectation, answers: Sequence[object]
    ) -> Call | Result | ReplicationError:
        """Run until there is no answer: the call that needs one, or how the run ended."""
        source, destination = self.ports(Answers(answers))
        replicator = Replicator(
            source=source,
            destination=destination,
            naming=NAMING,
            clock=Timeless(),
            policy=self.policy,
        )
        try:
            return replicator.replicate(ref, hint)
        except SuspendedError as suspended:
            return suspended.call
        except ReplicationError as error:
            return error


def brief(answer: object) -> str:
    """An answer, for somebody who wants to follow a schedule."""
    match answer:
        case SourceObject(etag=etag, last_modified=at):
            return f"{etag[:4]} of {at}"
        case Pinned(object=version, data=data):
            return f"{data!r} as {brief(version)}"
        case Replica(generation=generation, metageneration=metageneration, attributes=said):
            etag = said.metadata.get("s3-source-etag", "none")
            return f"{etag[:4]} of {said.custom_time} ({generation}.{metageneration})"
        case Exception():
            return type(answer).__name__
        case _:
            return repr(answer)
