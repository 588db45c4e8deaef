"""What the readers of events share: they read names, sizes and times, and what an event proves."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from urllib.parse import unquote_plus

from replicate.errors import InvalidEventError
from replicate.protocol.evidence import HINT, Evidence, user_deletion
from replicate.protocol.model import Expectation, SourceRef

FRESH = timedelta(minutes=1)
"""Age of an event up to which its change is probably not replicated yet.

Lambda retries a failed event after one minute at the earliest, so an older event is probably a
redelivery. Source: "Error handling for asynchronous invocation" in Lambda's developer guide.
"""

SMALL_BYTES = 256 * 1024
"""Largest object that is uploaded without a metadata GET first.

An unnecessary upload of this size takes 0.7 ms of CPU, at 3 s for a GiB. The GET takes about 1.7 ms
(38 % of an unchanged object) and a round trip. Source: docs/BENCHMARK.md and docs/PERFORMANCE.md.
"""

REDRIVEN = timedelta(seconds=45)
"""Time from the making of a message to its arrival in the queue, above which it was redriven.

A request to SQS takes 43 seconds at most: two attempts that time out, and the waits between
(retry.RetryPolicy). A redrive comes a minute or more after the message was made, because the event
was delivered before and failed. A wrong guess is harmless: the event only begins to count anew.
"""

_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
"""Old buckets in us-east-1 may have names that the rules of today forbid.

Source: "General purpose bucket naming rules" in S3's user guide.
"""


def unsupported(reason: str) -> InvalidEventError:
    """Return the error for an event that the function does not support."""
    return InvalidEventError(
        f"Unsupported event: {reason}. The function takes S3 events (directly or through SQS, SNS"
        " or EventBridge), tasks of S3 Batch Operations, and POST /v1/replicate through API"
        " Gateway. The folder events/ has a sample of each."
    )


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn a missing value, or one of another type, into InvalidEventError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise unsupported(f"{type(error).__name__} while reading {what}") from error


def decoded(key: str) -> str:
    """Decode a URL-encoded key. Raise ValueError if it is not UTF-8."""
    return unquote_plus(key, errors="strict")


def source_ref(bucket: object, key: object) -> SourceRef:
    """Return the object that an event names. Raise InvalidEventError.

    Both names become parts of addresses and of log lines, so they must be names that S3 accepts.
    """
    if not isinstance(bucket, str) or not is_bucket(bucket):
        raise unsupported("missing or invalid bucket name")
    if not isinstance(key, str) or not key or not is_unicode(key):
        raise unsupported("missing or invalid key")
    return SourceRef(bucket, key)


def is_bucket(name: str) -> bool:
    """Return whether S3 has accepted a name for a bucket, now or in the past."""
    return bool(_BUCKET.fullmatch(name))


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8. Lone surrogates, which JSON allows, cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def expect(*, created: bool, size: int | None, age: timedelta) -> Expectation:
    """Return what an event of this age lets us expect. `size` is in bytes, if the event has it."""
    if not created or age >= FRESH:
        return Expectation.UNKNOWN
    is_small = size is not None and size <= SMALL_BYTES
    return Expectation.NEW if is_small else Expectation.CHANGED


def stated_evidence(*, user_deleted: bool, occurred_at: datetime) -> Evidence:
    """Return what an event of S3 proves if the object is gone."""
    return user_deletion(occurred_at) if user_deleted else HINT


def stated_size(value: object) -> int | None:
    """Return the size of an object in bytes, if the event has one."""
    return value if isinstance(value, int) else None


def is_redriven(made_at: datetime | None, sent_at: datetime | None) -> bool:
    """Return whether a redrive has sent a message again: earlier deliveries no longer count."""
    return made_at is not None and sent_at is not None and sent_at - made_at > REDRIVEN


def count(value: object) -> int:
    """Return a number that a message of the function itself carries; 0 if it is none."""
    return value if isinstance(value, int) else 0
