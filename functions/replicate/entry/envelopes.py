"""Envelopes: events inside JSON of SNS, of Lambda's failure destination, or of a dead letter."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from replicate.entry import eventbridge, execution_watch, nomination, s3_notification
from replicate.entry.execution_watch import WATCH
from replicate.entry.invocation import Message, unsupported
from replicate.entry.nomination import NOMINATION
from replicate.errors import InvalidEventError

MAX_NESTING = 8
"""Envelopes inside each other."""

FAILED_EVENT = "failedEvent"
"""The field of a dead letter (entry/failures.py) that holds the event."""


def read(
    event: object, now: datetime, message_id: str = "", sent_at: datetime | None = None
) -> Message:
    """Read an event in any number of envelopes. What cannot be read is an error of the message.

    `sent_at` is when a queue got it, if it comes from one.
    """
    inner, attempts = _unwrap(event)
    try:
        message = _read(inner, now, message_id, sent_at)
    except InvalidEventError as error:
        message = Message(message_id, errors=(error,))
    return replace(message, event=inner, attempts=attempts)


def _read(inner: object, now: datetime, message_id: str, sent_at: datetime | None) -> Message:
    if not isinstance(inner, Mapping):
        raise unsupported("not a JSON object")
    if _content(inner) is not inner:
        raise unsupported("too many envelopes")
    if WATCH in inner:
        return execution_watch.read(inner, message_id, sent_at)
    if NOMINATION in inner:
        return nomination.read(inner, message_id)
    if inner.get("source") == "aws.s3":
        return eventbridge.read(inner, now, message_id)
    return s3_notification.read(inner, now, message_id)


def parsed(text: object) -> object:
    """Return the JSON value of a text; None if it is not JSON."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _unwrap(event: object) -> tuple[object, int]:
    """Open up to MAX_NESTING envelopes. Return the event, and the deliveries that they count."""
    attempts = 0
    for _ in range(MAX_NESTING):
        content = _content(event)
        if content is event:
            break
        attempts += _attempts(event)
        event = content
    return event, attempts


def _content(event: object) -> object:
    """Return what is in an envelope; an event that is in none, as it is."""
    if not isinstance(event, Mapping):
        return event
    if FAILED_EVENT in event:  # what the function itself sends to the dead-letter queue
        return event[FAILED_EVENT]
    if "requestPayload" in event:  # what Lambda sends to a failure destination
        return event["requestPayload"]
    if event.get("Type") == "Notification":  # what SNS sends to a queue
        text = event.get("Message")
        content = parsed(text)
        return text if content is None else content
    return event


def _attempts(envelope: object) -> int:
    """Return the deliveries of an event that its envelope counts."""
    if not isinstance(envelope, Mapping):
        return 0
    count = envelope.get("attempts")
    context = envelope.get("requestContext")
    if isinstance(context, Mapping):
        count = context.get("approximateInvokeCount")
    return count if isinstance(count, int) else 0
