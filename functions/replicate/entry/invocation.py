"""An invocation: the changes that an event names, and the response that its invoker expects."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol, Self

from replicate.errors import ReplicationError
from replicate.protocol.evidence import HINT, Evidence, EvidenceKind
from replicate.protocol.model import Expectation, Result, SourceRef


class Context(Protocol):
    """What the function uses of Lambda's context object."""

    @property
    def aws_request_id(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Change:
    """A key that may have changed, and when."""

    ref: SourceRef
    occurred_at: datetime | None = None
    expectation: Expectation = Expectation.UNKNOWN
    size: int | None = None
    """In bytes, as the event states it."""
    evidence: Evidence = HINT
    """What the event proves if the object is gone."""
    watched: frozenset[str] = frozenset()
    """Names of the executions that the event waits for."""
    since: datetime | None = None
    """When it began to wait; None if it has not waited. Executions that failed before do not count:
    since then somebody may have removed the cause."""
    first_since: datetime | None = None
    """When it began to wait for the first time: its age counts from here."""
    attempts: int = 1
    """How often the event was delivered to the function, this delivery included."""

    @property
    def is_request(self) -> bool:
        """The API or a job asks for the present state: there is no event that could be lost."""
        return self.evidence.kind is EvidenceKind.REQUEST

    def expect(self, parallel_from: int) -> Expectation:
        """Return what a run may expect, if objects from `parallel_from` bytes on go in parts.

        Such an object is read in parts, so a stream of the whole object would be unnecessary.
        """
        return Expectation.UNKNOWN if (self.size or 0) >= parallel_from else self.expectation

    def merge(self, other: "Change") -> "Change":
        """Combine two changes of one key: replicate once. The lag counts from the older one.

        If both have waited, the wait and its failures count since the later one began. If one has
        not waited, the combined change has not waited either.
        """
        times = [time for time in (self.occurred_at, other.occurred_at) if time is not None]
        sizes = [size for size in (self.size, other.size) if size is not None]
        expected = {self.expectation, other.expectation} - {Expectation.UNKNOWN}
        return Change(
            self.ref,
            min(times, default=None),
            Expectation.CHANGED if expected else Expectation.UNKNOWN,
            max(sizes, default=None),
            evidence=self.evidence.merge(other.evidence),
            watched=self.watched | other.watched,
            since=_later(self.since, other.since),
            first_since=_later(self.first_since, other.first_since),
            attempts=max(self.attempts, other.attempts),
        )


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one and other else None


Results = Mapping[SourceRef, Result | ReplicationError]
"""How the changes of an invocation ended."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What SQS says about a message that it has delivered."""

    handle: str
    receives: int = 1
    """How often SQS has delivered it, this delivery included."""
    age: timedelta = timedelta(0)
    """Time since its event was first put into the queue."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a message failed, and of which object. `ref` is None if no object could be read."""

    ref: SourceRef | None
    error: ReplicationError

    def __str__(self) -> str:
        return f"{self.ref.uri + ': ' if self.ref else ''}{self.error.code}: {self.error.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the envelopes of an event say about its deliveries before it came into its queue."""

    attempts: int = 0
    """How often it was delivered to the function."""
    transfers: int = 0
    """How many of these transferred the bytes of an object without completing the copy."""
    sent_at: datetime | None = None
    """When a queue first got it, if the function has sent it again since."""
    is_repeated: bool = False
    """Whether an envelope says that it was delivered before, or that Lambda gave it up."""

    def after(self, earlier: "History") -> "History":
        """Return this history, continued backwards by what an inner envelope says."""
        return History(
            attempts=self.attempts + earlier.attempts,
            transfers=self.transfers + earlier.transfers,
            sent_at=earlier.sent_at or self.sent_at,
            is_repeated=self.is_repeated or earlier.is_repeated,
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """When the function gets an event."""

    now: datetime
    sent_at: datetime | None = None
    """When a queue got it, if it comes from one."""


@dataclass(frozen=True, slots=True)
class Message:
    """A part of an invocation that succeeds or fails by itself."""

    id: str = ""
    """Unique in its invocation: what a queue has stored is removed from the invocation by it."""
    changes: tuple[Change, ...] = ()
    errors: tuple[ReplicationError, ...] = ()
    """What could not be read. It fails the message and does not stop the message's changes."""
    event: object = field(default=None, compare=False)
    """The event without envelopes. It is stored in the dead-letter queue if it fails for good."""
    history: History = field(default=History(), compare=False)
    receipt: Receipt | None = None
    """None if the message does not come from a queue."""
    is_s3_event: bool = field(default=False, compare=False)
    """Whether S3 has written the event: one about objects, and no test event."""

    @property
    def is_first_hand(self) -> bool:
        """Whether S3 has just sent the event: a sign that the bucket is still wired.

        Nothing tells Lambda's own two retries, minutes later, from the first delivery.
        """
        is_repeated = self.history.is_repeated or (self.receipt and self.receipt.receives > 1)
        return self.is_s3_event and not is_repeated

    @property
    def attempts(self) -> int:
        """How often it was delivered to the function, this delivery included."""
        return self.history.attempts + (self.receipt.receives if self.receipt else 1)

    def causes(self, results: Results) -> tuple[Cause, ...]:
        """Return why the message failed. Empty if it succeeded."""
        found = [Cause(None, error) for error in self.errors]
        for change in self.changes:
            result = results[change.ref]
            if isinstance(result, ReplicationError):
                found.append(Cause(change.ref, result))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Invocation(ABC):
    """What one invocation asks for."""

    messages: tuple[Message, ...]

    reports_failures: ClassVar[bool] = False
    """Whether the invoker reads in the response what failed. Its events become no dead letters."""

    @property
    def changes(self) -> list[Change]:
        """One change for each key, however many messages name the key."""
        merged: dict[SourceRef, Change] = {}
        for message in self.messages:
            for named in message.changes:
                change = replace(named, attempts=message.attempts)
                known = merged.get(change.ref)
                merged[change.ref] = known.merge(change) if known else change
        return list(merged.values())

    @property
    def errors(self) -> list[ReplicationError]:
        """What could not be read."""
        return [error for message in self.messages for error in message.errors]

    @property
    def first_hand(self) -> int:
        """How many messages came first-hand from S3."""
        return sum(message.is_first_hand for message in self.messages)

    def failed(self, results: Results) -> list[tuple[Message, tuple[Cause, ...]]]:
        """Return the messages that failed, and why."""
        return [(message, why) for message in self.messages if (why := message.causes(results))]

    def without(self, stored: Collection[str]) -> Self:
        """Return the invocation without some messages, by their ids: they need no redelivery."""
        return replace(self, messages=tuple(m for m in self.messages if m.id not in stored))

    @abstractmethod
    def respond(self, results: Results) -> dict[str, Any]:
        """Return what Lambda gives to the invoker. `results` has an entry for each change."""
