"""Events, read once and by explicit kind: from here on there are only keys that may have changed.

    Delivery   one invocation: from a notification, a queue, or S3 Batch Operations
    └── Item   what is answered for by itself: a queue's message, a job's task, a whole notification
        └── Change   one key

Keys are decoded here, once, and nowhere else: in S3's own notifications and in S3 Batch Operations
they are URL-encoded (a `+` is a space), in EventBridge events they are not. Source: S3's user
guide: "Event message structure", "EventBridge event message structure", "Invoke AWS Lambda".
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote_plus

from replicate.errors import InvalidEventError
from replicate.protocol.model import SourceRef, is_unicode
from replicate.protocol.replicator import LOOK_FIRST, Hint

FRESH = timedelta(minutes=1)
"""An event older than this is a redelivery as likely as not: what it tells of may long be done."""

SMALL_BYTES = 256 * 1024
"""Up to this size it is cheaper to write an object in vain than to look first."""

_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
"""Some in us-east-1 are older than the rules, and could be called like this."""

MAX_NESTING = 8
"""Envelopes in one another: failing again and again puts one more around each time."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key that may have changed, when, and what to expect."""

    ref: SourceRef
    occurred_at: datetime | None = None
    hint: Hint = LOOK_FIRST
    by_lifecycle: bool = False

    def merged(self, other: "Change") -> "Change":
        """Two events about one key are one run, as old as the older of them."""
        times = [t for t in (self.occurred_at, other.occurred_at) if t is not None]
        return Change(
            self.ref,
            min(times, default=None),
            Hint(changed=self.hint.changed or other.hint.changed),
            by_lifecycle=self.by_lifecycle and other.by_lifecycle,
        )


class Kind(Enum):
    """Who invoked us, and so how it is to be answered."""

    NOTIFICATION = auto()
    QUEUE = auto()
    BATCH_OPERATIONS = auto()


@dataclass(frozen=True, slots=True)
class Item:
    """A part of a delivery that fails by itself; and which records in it make no sense."""

    id: str
    changes: tuple[Change, ...] = ()
    malformed: tuple[InvalidEventError, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """All that one invocation tells."""

    kind: Kind
    items: tuple[Item, ...]
    invocation_id: str = ""
    schema_version: str = ""

    def changes(self) -> tuple[Change, ...]:
        """One change per key, whatever number of items tell of it."""
        merged: dict[SourceRef, Change] = {}
        for change in (change for item in self.items for change in item.changes):
            known = merged.get(change.ref)
            merged[change.ref] = known.merged(change) if known else change
        return tuple(merged.values())


def parse(event: object, now: datetime) -> Delivery:
    """Read what invoked us. Raises InvalidEventError when it is none of the kinds we know."""
    if not isinstance(event, Mapping):
        raise _not_ours("it is not a JSON object")
    if "invocationSchemaVersion" in event:
        return _batch_operations(event)
    records = event.get("Records")
    if isinstance(records, list) and any(_is_message(record) for record in records):
        return Delivery(Kind.QUEUE, tuple(_message(record, now) for record in records))
    return Delivery(Kind.NOTIFICATION, (_item("", event, now),))


def _is_message(record: object) -> bool:
    return isinstance(record, Mapping) and record.get("eventSource") == "aws:sqs"


def _message(record: object, now: datetime) -> Item:
    """One message of a queue: its body is a notification in whatever envelope."""
    if not isinstance(record, Mapping) or not isinstance(record.get("messageId"), str):
        raise _not_ours("a message of its queue has no messageId")
    item_id: str = record["messageId"]
    try:
        return _item(item_id, _parsed(record.get("body")), now)
    except InvalidEventError as error:
        return Item(item_id, malformed=(error,))


def _item(item_id: str, event: object, now: datetime) -> Item:
    """Read a notification. Raises InvalidEventError, if not even its envelope makes sense."""
    changes: list[Change] = []
    malformed: list[InvalidEventError] = []
    read, records = _opened(event)
    for number, record in enumerate(records):
        try:
            changes.append(read(record, now))
        except InvalidEventError as error:
            malformed.append(InvalidEventError(f"Records[{number}]: {error.message}"))
    return Item(item_id, tuple(changes), tuple(malformed))


_Reader = Callable[[object, datetime], Change]


def _opened(event: object, depth: int = 0) -> tuple[_Reader, list[object]]:
    """What is in all the envelopes, and how it is to be read. Raises InvalidEventError."""
    if not isinstance(event, Mapping):
        raise _not_ours("it is not a JSON object")
    if depth > MAX_NESTING:
        raise _not_ours("there are too many envelopes around it")
    if "requestPayload" in event:  # what Lambda sends to a failure destination
        return _opened(event["requestPayload"], depth + 1)
    if event.get("Type") == "Notification":  # what SNS sends to a queue
        return _opened(_parsed(event.get("Message")), depth + 1)
    if event.get("source") == "aws.s3":
        return _bridged, [event]
    if event.get("Event") == "s3:TestEvent":
        return _notified, []
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        raise _not_ours("it has no Records")
    return _notified, records


def _notified(record: object, now: datetime) -> Change:
    """Read a record of S3's own notifications."""
    if not isinstance(record, Mapping) or record.get("eventSource") != "aws:s3":
        raise _not_ours("its eventSource is not aws:s3")
    with _reading("an S3 record"):
        name, s3 = record["eventName"], record["s3"]
        return _change(
            SourceRef(s3["bucket"]["name"], _decoded(s3["object"]["key"])),
            datetime.fromisoformat(record["eventTime"]),
            now,
            created=name.startswith("ObjectCreated:"),
            size=s3["object"].get("size"),
            by_lifecycle=name.startswith("LifecycleExpiration:"),
        )


def _bridged(event: object, now: datetime) -> Change:
    """Read an EventBridge event. Its key is not encoded."""
    with _reading("an EventBridge event"):
        assert isinstance(event, Mapping)  # noqa: S101 - `_opened` saw to it
        detail = event["detail"]
        found = detail["object"]
        return _change(
            SourceRef(detail["bucket"]["name"], found["key"]),
            datetime.fromisoformat(event["time"]),
            now,
            created=event["detail-type"] == "Object Created",
            size=found.get("size"),
            by_lifecycle=detail.get("reason") == "Lifecycle Expiration",
        )


def _batch_operations(event: Mapping[str, Any]) -> Delivery:
    """Read the tasks of an S3 Batch Operations job: schema 1.0 has a bucket's ARN, 2.0 its name."""
    with _reading("an S3 Batch Operations event"):
        return Delivery(
            Kind.BATCH_OPERATIONS,
            tuple(_task(task) for task in event["tasks"]),
            event["invocationId"],
            event["invocationSchemaVersion"],
        )


def _task(task: Mapping[str, Any]) -> Item:
    """Read a line of a job's manifest. A version in it is a hint like any other."""
    try:
        with _reading("a task of S3 Batch Operations"):
            bucket = task.get("s3Bucket") or task["s3BucketArn"].rpartition(":")[2]
            change = Change(_named(SourceRef(bucket, _decoded(task["s3Key"]))))
    except InvalidEventError as error:
        return Item(task["taskId"], malformed=(error,))
    return Item(task["taskId"], (change,))


def _change(
    ref: SourceRef,
    occurred_at: datetime,
    now: datetime,
    *,
    created: bool,
    size: object,
    by_lifecycle: bool,
) -> Change:
    """Expect that an object just created is to be copied, and that a small one is new."""
    fresh = created and now - occurred_at < FRESH
    small = isinstance(size, int) and size <= SMALL_BYTES
    return Change(_named(ref), occurred_at, Hint(fresh, fresh and small), by_lifecycle)


def _named(ref: SourceRef) -> SourceRef:
    """The names as S3 could have made them: they go into addresses and logs."""
    bucket: object = ref.bucket
    key: object = ref.key
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
        raise _not_ours("it names no bucket")
    if not isinstance(key, str) or not key or not is_unicode(key):
        raise _not_ours("it names no key")
    return ref


def _decoded(key: str) -> str:
    return unquote_plus(key, errors="strict")


def _parsed(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """What is missing or of another type makes the whole thing none of ours."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _not_ours(f"{type(error).__name__} while reading it as {what}") from error


def _not_ours(why: str) -> InvalidEventError:
    return InvalidEventError(
        f"This is no event that the replicator handles: {why}. It takes S3's events, directly or"
        " through SQS, SNS and EventBridge, tasks of S3 Batch Operations, and API Gateway's POST"
        " /v1/replicate; events/ has a sample of each."
    )
