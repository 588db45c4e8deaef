"""Runs and steps of executions over both stores, each suspended at every call to a port.

What a message's run and an execution's step do is the product's code. An object of four bytes is
large: two slices of one part each.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from fakes import A_SECOND, FakeS3, Pinned, Upload, in_order, read_checked
from model.histories import DELETE, REF, History
from model.runs import (
    NAMING,
    Alternative,
    Call,
    Replay,
    ReplayedBody,
    ReplayedDestination,
    ReplayedSource,
    Stores,
    SuspendedError,
    UnlimitedClock,
)

from replicate import workflow
from replicate.errors import IntegrityError, LostRaceError, ReplicationError
from replicate.protocol.assembly import Assembler
from replicate.protocol.checksums import encode_crc32c
from replicate.protocol.evidence import Deletes
from replicate.protocol.large import LargeCopy
from replicate.protocol.model import (
    Attributes,
    Precondition,
    Replica,
    Result,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.parts import Sizes
from replicate.protocol.plan import Policy
from replicate.protocol.ports import (
    Body,
    CompressedSize,
    Destination,
    ExecutionState,
    GatedBody,
    Source,
)
from replicate.protocol.replicator import Replicator
from replicate.protocol.scope import Scope
from replicate.step_errors import PermanentError, TransientError
from replicate.telemetry import Telemetry
from replicate.workflow import LargeObjects

PREFIX = ".staging/"
SCOPE = Scope(frozenset({REF.bucket}))
SIZES = Sizes(parallel_from=4, large_from=4, part=2, slice=2, parts_per_slice=1, compress_from=1)


def uploaded(change: str) -> Upload:
    """Return what a change puts: a letter is a large object, a digit a small one.

    S3 has no checksum for it: nothing but the protocol keeps its slices together.
    """
    content, note = change[:1], change[1:]
    data = f"{content}0{content}1" if content.isalpha() else content * 2
    return Upload(data=data.encode(), metadata={"note": note}, content_type="text/plain", kms=True)


def change_source(s3: FakeS3, change: str) -> None:
    """Make one change of a history."""
    if change == DELETE:
        s3.delete(REF)
    else:
        s3.upload(REF, uploaded(change))


def sources(
    history: History, s3: type[FakeS3] = FakeS3, tick: timedelta = A_SECOND
) -> tuple[FakeS3, ...]:
    """Return the bucket before the first change, after it, after the next..."""
    buckets = []
    for count in range(len(history) + 1):
        bucket = s3(tick=tick)
        for change in history[:count]:
            change_source(bucket, change)
        buckets.append(bucket)
    return tuple(buckets)


@dataclass(slots=True)
class Machines:
    """The executions as one call finds them, and what the call does about them."""

    states: Mapping[str, ExecutionState] = field(default_factory=dict)
    """By the names of executions."""
    starts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LargeStores(Stores):
    """What all runs and steps share."""

    machines: Machines


class ReplayedExecutions:
    """The executions as a suspended run sees them."""

    def __init__(self, replay: Replay) -> None:
        self._call = replay.call

    def state(self, name: str) -> ExecutionState | None:
        found: ExecutionState | None = self._call(
            "describe", name, _on_machines(lambda machines: machines.states.get(name))
        )
        return found

    def watch(self, name: str) -> None:
        self._call("watch", name, lambda _: None)

    def start(self, name: str) -> None:
        self._call("start", name, _on_machines(lambda machines: machines.starts.append(name)))


def _on_machines(way: Callable[[Machines], object]) -> Alternative:
    def on(stores: Stores) -> object:
        assert isinstance(stores, LargeStores)
        return way(stores.machines)

    return on


class LargeSource(ReplayedSource):
    """S3. A stream never breaks here: what becomes of one that does is in test_interleavings."""

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        pinned: Pinned | None = self._call(
            "S3 GET", f"{ref.key} If-Match {version} {span}", lambda on: on.s3.pin(ref, version)
        )
        yield ReplayedBody(_unbroken, pinned, span) if pinned else None


def _unbroken(_verb: str, _text: str, stream: Callable[[None], object], _resume: object) -> object:
    return stream(None)


class LargeDestination(ReplayedDestination):
    """GCS, with generations that the protocol may compare."""

    def received(self, replica: Replica) -> Replica:
        return replica


class Misreading(LargeDestination):
    """GCS that may make other bytes of those that arrive compressed. A next step compares them."""

    def __init__(self, replay: Replay, *, compares: bool) -> None:
        super().__init__(replay)
        self._compares = compares

    def write_compressed(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> tuple[Replica, int]:
        right = read_checked(body)

        def making(data: bytes) -> Alternative:
            return lambda on: on.gcs.commit(name, attributes, data, precondition, storage_class)

        text = f"{name} {right!r} {attributes} if {precondition}"
        written: Replica = self._call(
            "GCS write gzip", text, making(right), making(b"?" * len(right)), changes=name
        )
        if self._compares and written.crc32c != encode_crc32c(body.crc32c):
            self.delete(name, Precondition(written.generation))
            raise IntegrityError("GCS made other bytes.")
        return written, 1


class Silent(Telemetry):
    """Telemetry that records nothing."""

    def __init__(self) -> None:
        pass

    def record(self, *_: object) -> None:
        pass

    def failed_without_object(self, *_: object) -> None:
        pass


class Work(NamedTuple):
    """What an invocation is started with: a message or a step.

    `text` is the name of the execution that a message watches, "" for an event, or a step's JSON.
    """

    kind: str
    text: str


RUN = "run"
EVENT = Work(RUN, "")


def watch(name: str) -> Work:
    """Return the message that watches an execution."""
    return Work(RUN, name)


def step(payload: str) -> Work:
    """Return an invocation by the state machine."""
    fields = json.loads(payload)
    number = f" {fields['number']}" if "number" in fields else ""
    return Work(f"{fields['large']}{number}", payload)


LargePorts = tuple[Source, Destination]


def faithful(replay: Replay) -> LargePorts:
    """Both stores, and nothing in between."""
    return LargeSource(replay), LargeDestination(replay)


def misreading(replay: Replay, *, compares: bool = True) -> LargePorts:
    """Both stores, of which GCS may decompress wrongly."""
    return LargeSource(replay), Misreading(replay, compares=compares)


Failure = ReplicationError | TransientError | PermanentError | LostRaceError
"""A lost race that nobody handles is one, too: Step Functions does not retry it."""

FAILURES = (ReplicationError, TransientError, PermanentError, LostRaceError)

Ended = Result | dict[str, Any] | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeProtocol:
    """What runs and steps are started with, and where the protocol can be broken."""

    policy: Policy = field(default_factory=lambda: Policy(deletes=Deletes.ALL))
    ports: Callable[[Replay], LargePorts] = faithful
    replicator: type[Replicator] = Replicator
    copy: type[LargeCopy] = LargeCopy
    assembler: type[Assembler] = Assembler
    compressed_size: CompressedSize | None = None

    def advance(self, work: Work, responses: Sequence[object]) -> Call | Ended:
        """Run until there is no response: the call that needs one, or how the invocation ended."""
        replay = Replay(responses)
        source, destination = self.ports(replay)
        assembler = self.assembler(
            source=source,
            destination=destination,
            prefix=PREFIX,
            sizes=SIZES,
            in_parallel=in_order,
            compressed_size=self.compressed_size,
        )
        replicator = self.replicator(
            source=source,
            destination=destination,
            naming=NAMING,
            clock=UnlimitedClock(),
            policy=self.policy,
            assembler=assembler,
            executions=ReplayedExecutions(replay),
        )
        try:
            if work.kind == RUN:
                return replicator.replicate(REF, watched=(work.text,) if work.text else ())
            return workflow.step(
                lambda: LargeObjects(self.copy(replicator), SCOPE), Silent(), json.loads(work.text)
            )
        except SuspendedError as suspended:
            return suspended.call
        except FAILURES as error:
            return error
