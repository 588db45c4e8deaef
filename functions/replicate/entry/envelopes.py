"""Envelopes: S3 and EventBridge events inside JSON of SNS or of Lambda's failure destination."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from replicate.entry import eventbridge, execution_watch, s3_notification
from replicate.entry.execution_watch import WATCH
from replicate.entry.invocation import Message, unsupported

MAX_NESTING = 8
"""Envelopes inside each other. Each failed redrive adds one."""


def read(
    event: object, now: datetime, message_id: str = "", sent_at: datetime | None = None
) -> Message:
    """Read an event in any number of envelopes. Raise InvalidEventError if it is not of S3.

    `sent_at` is when a queue got it, if it comes from one.
    """
    inner = _unwrap(event)
    if WATCH in inner:
        return execution_watch.read(inner, message_id, sent_at)
    if inner.get("source") == "aws.s3":
        return eventbridge.read(inner, now, message_id)
    return s3_notification.read(inner, now, message_id)


def parsed(text: object) -> object:
    """Return the JSON value of a text; None if it is not JSON."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _unwrap(event: object, depth: int = 0) -> Mapping[str, Any]:
    if not isinstance(event, Mapping):
        raise unsupported("not a JSON object")
    if depth > MAX_NESTING:
        raise unsupported("too many envelopes")
    if "requestPayload" in event:  # what Lambda sends to a failure destination
        return _unwrap(event["requestPayload"], depth + 1)
    if event.get("Type") == "Notification":  # what SNS sends to a queue
        return _unwrap(parsed(event.get("Message")), depth + 1)
    return event
