"""Envelopes: events inside JSON of SNS, of Lambda's failure destination, or of the function.

The function itself wraps an event in a dead letter, and one that it sends to its queue again.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from replicate.entry import eventbridge, execution_watch, nomination, s3_notification
from replicate.entry.execution_watch import WATCH
from replicate.entry.invocation import Delivery, History, Message
from replicate.entry.nomination import NOMINATION
from replicate.entry.reading import count, is_redriven, unsupported
from replicate.errors import InvalidEventError

MAX_NESTING = 8
"""Envelopes inside each other."""

FAILED_EVENT = "failedEvent"
"""The field of a dead letter (settlement/letters.py) that holds the event."""

RETRIED_EVENT = "retriedEvent"
"""The same of an event that the function has sent to the queue again."""

_GIVEN_UP_EVENT = "requestPayload"
"""The same of an event that Lambda sends to a failure destination."""

_REPEATED = (FAILED_EVENT, RETRIED_EVENT, _GIVEN_UP_EVENT)


def read_message(event: object, delivery: Delivery) -> Message:
    """Read an event in any number of envelopes. What cannot be read is an error of the message."""
    inner, history = _unwrap(event, delivery.sent_at)
    try:
        message = _read(inner, replace(delivery, sent_at=history.sent_at or delivery.sent_at))
    except InvalidEventError as error:
        message = Message(errors=(error,))
    known = history.after(message.history)
    # Around a message of its own, an envelope of the function counts what that counts, too.
    known = replace(known, attempts=max(history.attempts, message.history.attempts))
    return replace(message, event=inner, history=known)


def _read(inner: object, delivery: Delivery) -> Message:
    if not isinstance(inner, Mapping):
        raise unsupported("not a JSON object")
    if _content(inner) is not inner:
        raise unsupported("too many envelopes")
    if WATCH in inner:
        return execution_watch.read_message(inner, delivery)
    if NOMINATION in inner:
        return nomination.read_message(inner, delivery)
    if inner.get("source") == "aws.s3":
        return eventbridge.read_message(inner, delivery)
    return s3_notification.read_message(inner, delivery)


def json_value(text: object) -> object:
    """Return the JSON value of a text; None if it is not JSON."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _unwrap(event: object, sent_at: datetime | None) -> tuple[object, History]:
    """Open up to MAX_NESTING envelopes. Return the event, and what they say about it."""
    history = History()
    for _ in range(MAX_NESTING):
        content = _content(event)
        if content is event:
            break
        history = history.after(_history(event, sent_at))
        event = content
    return event, history


def _content(event: object) -> object:
    """Return what is in an envelope; an event that is in none, as it is."""
    if not isinstance(event, Mapping):
        return event
    for field in _REPEATED:
        if field in event:
            return event[field]
    match event:
        case (
            {"Type": "Notification", "Message": text}  # what SNS sends to a queue
            | {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": text}}]}  # to a function
        ):
            content = json_value(text)
            return text if content is None else content
    return event


def _history(envelope: object, sent_at: datetime | None) -> History:
    """Return what an envelope says about earlier deliveries.

    After a redrive, transfers and age count anew: somebody may have removed the cause.
    """
    if not isinstance(envelope, Mapping):
        return History()
    is_repeated = any(field in envelope for field in _REPEATED)
    context = envelope.get("requestContext")
    if isinstance(context, Mapping):
        attempts = count(context.get("approximateInvokeCount"))
        return History(attempts=attempts, is_repeated=is_repeated)
    attempts = count(envelope.get("attempts"))
    if RETRIED_EVENT in envelope:
        with suppress(LookupError, TypeError, ValueError):
            first, last = (
                datetime.fromisoformat(envelope[name]) for name in ("firstSentAt", "sentAt")
            )
            if first <= last and not is_redriven(last, sent_at):
                transfers = count(envelope.get("transfers"))
                return History(
                    attempts=attempts, transfers=transfers, sent_at=first, is_repeated=True
                )
    return History(attempts=attempts, is_repeated=is_repeated)
