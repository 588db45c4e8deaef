"""The protocol of large objects with one rule missing, and GCS in its hostile modes.

The product's code is the same where its ports can be different; else one of its functions is
replaced.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from fakes import Deletion, FakeGcs, FakeS3, StoredObject
from model.histories import REF
from model.large_runs import LargeDestination, LargePorts, LargeProtocol, LargeSource
from model.runs import Replay
from model.variants import WithoutIfMatch

from replicate.errors import ComponentGoneError, DestinationChangedError, DestinationForbiddenError
from replicate.protocol import parts
from replicate.protocol.checksums import combined_crc32c
from replicate.protocol.handover import HandOver, hand_over, watch_again
from replicate.protocol.large import LargeCopy, Planned
from replicate.protocol.model import (
    ABSENT,
    Attributes,
    Precondition,
    Replica,
    SourceObject,
    SourceRef,
)
from replicate.protocol.ports import Executions, ExecutionState, Running

NAME = REF.key


class DeletesWhenRefused(FakeGcs):
    """The components of a compose are gone even if its precondition failed."""

    deletion: ClassVar[Deletion] = Deletion.EVEN_IF_REFUSED


class DeletesLater(FakeGcs):
    """The components of a compose are deleted at any time after it."""

    deletion: ClassVar[Deletion] = Deletion.LATER


class NeverDeletes(FakeGcs):
    """The components of a compose stay."""

    deletion: ClassVar[Deletion] = Deletion.NEVER


class ItsClassOnly(FakeGcs):
    """A compose is refused unless its components have the class of the new object."""

    joins_its_class_only: ClassVar[bool] = True


HOSTILE: Mapping[str, type[FakeGcs]] = {
    "components are deleted although the precondition failed": DeletesWhenRefused,
    "components are deleted later": DeletesLater,
    "components are never deleted": NeverDeletes,
    "another class is refused": ItsClassOnly,
}


class WithoutPins(FakeGcs):
    """A compose takes whatever has the names of its components."""

    def _pinned(self, source: Replica) -> StoredObject:
        if source.name not in self.objects:
            raise ComponentGoneError
        return self.objects[source.name]

    def _delete_pinned(self, components: Sequence[Replica]) -> None:
        for source in components:
            self.objects.pop(source.name, None)


class ForgetfulSource(LargeSource):
    """Tells what it told before, where the protocol without one of its rules would not ask."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay)
        self._told: SourceObject | None = None
        self.repeats = False

    def look_early(self) -> None:
        """Look now, instead of when the protocol asks next."""
        self._told = super().head(REF)
        self.repeats = True

    def head(self, ref: SourceRef) -> SourceObject | None:
        if not self.repeats:
            self._told = super().head(ref)
        self.repeats = False
        return self._told


class Loose(LargeDestination):
    """GCS that tells its source when not to ask S3."""

    def __init__(self, replay: Replay, source: ForgetfulSource) -> None:
        super().__init__(replay)
        self.source = source


class SourceFirst(Loose):
    """The source is read before the destination is."""

    def head(self, name: str) -> Replica | None:
        if name == NAME:
            self.source.look_early()
        return super().head(name)


class Composing(Loose):
    """What a rule about the commit changes."""

    def compose(
        self,
        name: str,
        attributes: Attributes,
        components: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        if name != NAME:
            return super().compose(name, attributes, components, precondition, storage_class)
        return self.commit(attributes, components, precondition)

    def commit(
        self, attributes: Attributes, components: Sequence[Replica], precondition: Precondition
    ) -> Replica:
        """Join the slices under the final name."""
        return super().compose(NAME, attributes, components, precondition)


class Unverified(Composing):
    """The source is not read again after the commit."""

    def commit(
        self, attributes: Attributes, components: Sequence[Replica], precondition: Precondition
    ) -> Replica:
        written = super().commit(attributes, components, precondition)
        self.source.repeats = True
        return written


class OnGeneration(Composing):
    """The commit has no ifMetagenerationMatch."""

    def commit(
        self, attributes: Attributes, components: Sequence[Replica], precondition: Precondition
    ) -> Replica:
        return super().commit(attributes, components, Precondition(precondition.generation))


class Adopting(Composing):
    """The commit is fenced by what the destination holds right before it."""

    _seen: Replica | None = None

    def head(self, name: str) -> Replica | None:
        found = super().head(name)
        if name == NAME:
            self._seen = found
        return found

    def commit(
        self, attributes: Attributes, components: Sequence[Replica], precondition: Precondition
    ) -> Replica:
        del precondition
        seen = Precondition.unchanged(self._seen) if self._seen else ABSENT
        return super().commit(attributes, components, seen)


class AdoptingCopy(LargeCopy):
    """It does not look whether the destination is still as planned."""

    def _is_as_planned(self, replica: Replica | None, planned: Planned) -> bool:
        del replica, planned
        return True


class RefusedIsDone(Composing):
    """A commit that was refused counts as done: somebody else did it."""

    def commit(
        self, attributes: Attributes, components: Sequence[Replica], precondition: Precondition
    ) -> Replica:
        try:
            return super().commit(attributes, components, precondition)
        except (ComponentGoneError, DestinationChangedError):
            size = sum(each.size for each in components)
            crc32c = combined_crc32c([(each.crc32c, each.size) for each in components])
            return Replica(
                name=NAME,
                generation=0,
                metageneration=0,
                size=size,
                attributes=attributes,
                crc32c=crc32c,
            )


class RefusedIsFailure(Composing):
    """A commit that was refused is an error, and not planned again."""

    def commit(
        self, attributes: Attributes, components: Sequence[Replica], precondition: Precondition
    ) -> Replica:
        try:
            return super().commit(attributes, components, precondition)
        except (ComponentGoneError, DestinationChangedError):
            raise DestinationForbiddenError("Somebody was faster.") from None


def loosely(destination: type[Loose]) -> Callable[[Replay], LargePorts]:
    """Return ports with this destination."""

    def ports(replay: Replay) -> LargePorts:
        source = ForgetfulSource(replay)
        return source, destination(replay, source)

    return ports


@dataclass(frozen=True, slots=True)
class SomeWatched:
    """Executions of which a message watches only those in a certain state: None if it is new."""

    executions: Executions
    is_watched: Callable[[ExecutionState | None], bool]
    counts_as_running: bool = False
    """So do executions that have ended."""

    def state(self, name: str) -> ExecutionState | None:
        found = self.executions.state(name)
        return Running() if found and self.counts_as_running else found

    def watch(self, name: str) -> None:
        if self.is_watched(self.executions.state(name)):
            self.executions.watch(name)

    def start(self, name: str) -> None:
        self.executions.start(name)


def _running_is_done(
    executions: Executions,
    *rest: Any,  # noqa: ANN401
    **more: Any,  # noqa: ANN401
) -> HandOver:
    return hand_over(SomeWatched(executions, lambda state: state is None), *rest, **more)


def _ended_is_done(
    executions: Executions,
    *rest: Any,  # noqa: ANN401
    **more: Any,  # noqa: ANN401
) -> HandOver:
    is_watched = lambda state: state is None or state == Running()  # noqa: E731
    return hand_over(SomeWatched(executions, is_watched, counts_as_running=True), *rest, **more)


def _by_the_execution(
    executions: Executions,
    *rest: Any,  # noqa: ANN401
    **more: Any,  # noqa: ANN401
) -> HandOver:
    return hand_over(SomeWatched(executions, lambda _: False), *rest, **more)


def _running(executions: Executions, watched: Collection[str]) -> str | None:
    states = {name: executions.state(name) for name in watched}
    return next((name for name, state in states.items() if state == Running()), None)


def _same_folder(prefix: str, _version: str, destination: str) -> str:
    return parts.staging_folder(prefix, "", destination)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is replaced in the product's code and its ports."""

    protocol: LargeProtocol = field(default_factory=LargeProtocol)
    gcs: type[FakeGcs] = FakeGcs
    s3: type[FakeS3] = FakeS3
    functions: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the functions for a while."""
        with pytest.MonkeyPatch.context() as patch:
            for name, function in self.functions.items():
                patch.setattr(f"replicate.protocol.{name}", function)
            yield


FOLDERS = {"assembly.staging_folder": _same_folder, "large.staging_folder": _same_folder}

RUNNING_IS_DONE = {
    "replicator.hand_over": _running_is_done,
    "replicator.watch_again": _running,
}
ENDED_IS_DONE = {
    "replicator.hand_over": _ended_is_done,
    "replicator.watch_again": lambda executions, watched: (
        watch_again(executions, watched) or next(iter(watched), None)
    ),
}

UNVERIFIED = LargeProtocol(ports=loosely(Unverified))
REFUSED_IS_DONE = LargeProtocol(ports=loosely(RefusedIsDone))

VARIANTS: Mapping[str, Variant] = {
    "version digest in staged names": Variant(functions=FOLDERS),
    "If-Match on a worker's GET": Variant(s3=WithoutIfMatch),
    "destination read before source": Variant(protocol=LargeProtocol(ports=loosely(SourceFirst))),
    "fence kept as planned": Variant(
        protocol=LargeProtocol(ports=loosely(Adopting), copy=AdoptingCopy)
    ),
    "ifMetagenerationMatch at the commit": Variant(
        protocol=LargeProtocol(ports=loosely(OnGeneration))
    ),
    "verify after the commit": Variant(protocol=UNVERIFIED),
    "verify after the commit, nor a run of the watch": Variant(
        protocol=UNVERIFIED, functions=ENDED_IS_DONE
    ),
    "pins in compose": Variant(gcs=WithoutPins),
    "404 or 412 from the commit is no end": Variant(protocol=REFUSED_IS_DONE),
    "404 or 412 from the commit is no end, nor a run of the watch": Variant(
        protocol=REFUSED_IS_DONE, functions=ENDED_IS_DONE
    ),
    "404 or 412 from the commit is no failure": Variant(
        protocol=LargeProtocol(ports=loosely(RefusedIsFailure))
    ),
    "a message waits while an execution runs": Variant(functions=RUNNING_IS_DONE),
    "an execution that has ended proves nothing": Variant(functions=ENDED_IS_DONE),
    "the message holds the event, not the execution": Variant(
        functions={"replicator.hand_over": _by_the_execution}
    ),
    "a message waits although both sides are equal": Variant(
        functions={"replicator.watch_again": lambda *_: None}
    ),
}
"""The protocol without a rule, by that rule."""
