"""Events, read once and by explicit kind: from here on there are only changes.

The key of a native S3 notification is URL-encoded (a `+` is a space). It is decoded here, once, and
nowhere else. Source: "Event message structure" in S3's user guide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

from replicate.errors import InvalidEventError
from replicate.objects import SourceRef
from replicate.replication import LOOK_FIRST, Hint

FRESH = timedelta(minutes=1)
"""An event older than this is a redelivery as likely as not: what it tells of may long be done."""

SMALL_BYTES = 256 * 1024
"""Up to this size it is cheaper to write an object in vain than to look first."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key that may have changed, when, and what to expect."""

    ref: SourceRef
    occurred_at: datetime | None = None
    hint: Hint = LOOK_FIRST


@dataclass(frozen=True, slots=True)
class Batch:
    """What one event tells: at most one change per key, and which of its records make no sense."""

    changes: tuple[Change, ...] = ()
    malformed: tuple[InvalidEventError, ...] = ()


def parse(event: object, now: datetime) -> Batch:
    """Read an S3 notification. Raises InvalidEventError for what is not one."""
    if not isinstance(event, Mapping):
        raise _not_ours("it is not a JSON object")
    if event.get("Event") == "s3:TestEvent":
        return Batch()
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        raise _not_ours("it has no Records")
    changes: dict[SourceRef, Change] = {}
    malformed = []
    for number, record in enumerate(records):
        try:
            change = _change(record, now)
        except InvalidEventError as error:
            malformed.append(InvalidEventError(f"Records[{number}]: {error.message}"))
        else:
            changes[change.ref] = _merge(changes.get(change.ref), change)
    return Batch(tuple(changes.values()), tuple(malformed))


def _change(record: object, now: datetime) -> Change:
    if not isinstance(record, Mapping) or record.get("eventSource") != "aws:s3":
        raise _not_ours("its eventSource is not aws:s3")
    try:
        bucket, entry = record["s3"]["bucket"]["name"], record["s3"]["object"]
        ref = SourceRef(bucket, unquote_plus(entry["key"], errors="strict"))
        occurred_at = datetime.fromisoformat(record["eventTime"])
        hint = _hint(record["eventName"], entry.get("size"), now - occurred_at)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _not_ours(f"{type(error).__name__} while reading it as an S3 record") from error
    if not isinstance(bucket, str) or not ref.key:
        raise _not_ours("it names no bucket or no key")
    return Change(ref, occurred_at, hint)


def _hint(name: str, size: Any, age: timedelta) -> Hint:  # noqa: ANN401 - whatever the event says
    """Expect that an object just created is to be copied, and that a small one is new."""
    created = name.startswith("ObjectCreated:") and age < FRESH
    return Hint(changed=created, new=created and isinstance(size, int) and size <= SMALL_BYTES)


def _merge(known: Change | None, change: Change) -> Change:
    """Two records of one key are one run, as old as the older of them."""
    if known is None or known.occurred_at is None or change.occurred_at is None:
        return change
    return Change(change.ref, min(known.occurred_at, change.occurred_at), Hint(changed=True))


def _not_ours(why: str) -> InvalidEventError:
    return InvalidEventError(
        f"This is not an event that the replicator handles: {why}. It takes S3 notifications and"
        " API Gateway's POST /v1/replicate; events/ has a sample of each."
    )
