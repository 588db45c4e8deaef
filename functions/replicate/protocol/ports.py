"""The ports of the protocol: both stores, executions, the clock, and what runs tasks together.

`s3`, `gcs`, `stepfunctions`, `retry` and `parallel` implement them; tests have fakes in memory.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from replicate.protocol.model import (
    Attributes,
    PartLayout,
    Precondition,
    Replica,
    SourceObject,
    SourceRef,
    Span,
)

T = TypeVar("T")


class Body(Protocol):
    """The bytes of one version of a source object, or of a range of them, in order."""

    @property
    def object(self) -> SourceObject:
        """The version that the bytes belong to."""

    def readinto(self, buffer: memoryview) -> int:
        """Read up to `len(buffer)` bytes and return their number; 0 only at the body's end.

        A broken stream is resumed at the same version. Raise SourceChangedError when that is gone.
        """

    def rewind(self, offset: int) -> None:
        """Continue reading at `offset`, which counts from the first byte of this body."""


class Layouts(Protocol):
    """How S3 split the multipart uploads that its objects come from."""

    def part_layout(self, version: SourceObject) -> PartLayout | None:
        """Return the layout that the first part suggests; None if S3 does not tell."""

    def has_layout(self, version: SourceObject, layout: PartLayout) -> bool:
        """Return whether every part is as `layout` says. Needs one request for each part.

        Raise SourceChangedError when the parts may be those of another version.
        """


class Source(Layouts, Protocol):
    """S3, read only."""

    def head(self, ref: SourceRef) -> SourceObject | None:
        """Describe the current version; None when there is none."""

    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> AbstractContextManager[Body | None]:
        """Open `version`, or the current version: None when there is none.

        With `span` the body is that byte range of `version`.

        Raise SourceChangedError when `version` is gone. In a versioned bucket its ID finds it even
        when it is no longer the current version. Elsewhere it must still be the current one.
        """


class CompressedSize(Protocol):
    """Compresses bytes to find out whether that pays."""

    def __call__(self, data: memoryview) -> int:
        """Return how many bytes these bytes take when they travel compressed."""


class GatedBody(Protocol):
    """A body behind the commit gate: it knows whether the bytes that it passed on were right."""

    @property
    def size(self) -> int:
        """Bytes of the whole body."""

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""

    def rewind(self, offset: int) -> None:
        """See `Body.rewind`."""

    def verify(self) -> None:
        """Raise IntegrityError unless all bytes were read and match the source's checksum."""

    @property
    def crc32c(self) -> int:
        """The CRC32C of all bytes read so far."""

    def is_stored_as(self, crc32c: str | None, size: int) -> bool:
        """Return whether GCS's CRC32C and size of an object are those of the bytes read."""


class Destination(Protocol):
    """GCS. Each write has a precondition: a lost race writes nothing.

    Each method that writes raises DestinationChangedError when its precondition does not hold, and
    leaves nothing visible whenever it raises. When GCS refuses a write although the object is as
    the precondition says, a policy forbids the write: the method raises DestinationForbiddenError.
    A write whose response was lost may be repeated.
    """

    def head(self, name: str) -> Replica | None:
        """Describe the live object; None when there is none."""

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """Make bytes and attributes visible together, after `body.verify()` has returned."""

    def write_compressed(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> tuple[Replica, int]:
        """Write as `write` does, and send the bytes as gzip. Return how many bytes were sent, too.

        Other bytes may be visible until they are found to be wrong, or longer if the function is
        killed. So this is for staged objects only.
        """

    def compose(
        self,
        name: str,
        attributes: Attributes,
        components: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """Join up to 32 objects into one, and delete them in the same request.

        Each component is pinned to its generation. Raise ComponentGoneError when one is gone.
        """

    def staging_obstacle(self) -> str | None:
        """Return why the bucket cannot hold staged objects for a while; None if it can."""

    def list_prefix(self, prefix: str) -> Iterable[Replica]:
        """Describe all live objects whose names begin with `prefix`."""

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        """Replace the attributes of exactly `current`."""

    def delete(self, name: str, precondition: Precondition) -> None:
        """Delete the object. It is no error when the object is gone."""


@dataclass(frozen=True, slots=True)
class Running:
    """An execution whose workers may still write."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """An execution that found both sides equal. If they differ now, something changed since."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An execution that ended without success. `cause` says why."""

    cause: str
    is_old: bool = False
    """It ended before the event began to wait, so it says nothing about the next one: since then
    somebody may have removed the cause."""
    ended_s: float = field(default=math.inf, compare=False)
    """Seconds since it ended."""


ExecutionState = Running | Succeeded | Failed


class Executions(Protocol):
    """Starts and watches executions that copy large objects, for one change."""

    def state(self, name: str) -> ExecutionState | None:
        """Describe an execution; None when there is none of this name."""

    def watch(self, name: str) -> None:
        """Store a message that runs the key again later, so that no event is lost."""

    def start(self, name: str) -> None:
        """Start an execution. It is no error when the same one runs already."""


class Clock(Protocol):
    """What the protocol knows of time."""

    def require(self) -> object:
        """Raise OutOfTimeError when no new round may begin."""

    def pause(self, lost_races: int) -> None:
        """Wait before the round after a lost race. `lost_races` counts those of this run."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment."""


@dataclass(slots=True)
class Stop:
    """Tells tasks that run at the same time that one of them failed.

    A task notices it with its next read. One that waits for the network notices it when the wait
    ends: after `RetryPolicy.io_timeout_s`, 20 seconds, at the latest.
    """

    requested: bool = False


class StoppedError(Exception):
    """Another task failed, so this one is stopped."""


class Parallel(Protocol):
    """Runs tasks at the same time."""

    def __call__(self, tasks: Sequence[Callable[[Stop], T]]) -> list[T]:
        """Return the results in order. If a task fails, stop the others and raise its error."""
