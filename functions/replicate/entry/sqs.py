"""Batches of an SQS queue.

Lambda polls the queue and invokes the function with up to 10 messages. Each body is an event in any
envelope. The response names the messages that failed, and SQS delivers only these again.
Source: "Implementing partial batch responses" in Lambda's developer guide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from replicate.entry import envelopes
from replicate.entry.invocation import Context, Delivery, Invocation, Message, Receipt, Results
from replicate.entry.reading import unsupported
from replicate.errors import GivenUpError

ABANDONED_AFTER = timedelta(days=11)
"""Age after which a message that was delivered before becomes a dead letter without an attempt.

A message whose failure the function can report becomes one a day earlier (settlement/policy.py).
What is older stops the process each time, and the queue would delete it after 12 days.
"""

_ABANDONED = (
    "The event was delivered for days, and each delivery ended without a report: the process was"
    " stopped, for example because its memory or its time ran out. Look for Lambda's own lines in"
    " the log (Task timed out, Runtime.ExitError), then run the event again."
)


@dataclass(frozen=True, slots=True)
class SqsInvocation(Invocation):
    """A batch of messages."""

    def respond(self, results: Results) -> dict[str, Any]:
        """Name the messages that failed."""
        failed = [message.id for message, _ in self.failed(results)]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def parse_invocation(event: Mapping[str, Any], now: datetime, _context: Context) -> SqsInvocation:
    """Read a batch. Raise InvalidEventError if a message has no ID to report its failure with."""
    return SqsInvocation(tuple(_message(record, now) for record in event["Records"]))


def _message(record: object, now: datetime) -> Message:
    message_id = record.get("messageId") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(message_id, str):
        raise unsupported("an SQS message has no messageId")
    body = record.get("body")
    value = envelopes.json_value(body)
    receipt = _receipt(record, now)
    sent_at = now - receipt.age if receipt else None
    event = body if value is None else value
    message = envelopes.read_message(event, Delivery(now, sent_at))
    if receipt and receipt.receives > 1 and receipt.age > ABANDONED_AFTER:
        message = replace(message, changes=(), errors=(GivenUpError(_ABANDONED),))
    if receipt and message.history.sent_at:
        receipt = replace(receipt, age=now - message.history.sent_at)
    return replace(message, id=message_id, receipt=receipt)


def _receipt(record: Mapping[str, Any], now: datetime) -> Receipt | None:
    """Read what SQS says about a delivery; None if it is not all there."""
    try:
        attributes = record["attributes"]
        sent_at = datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC)
        receives = int(attributes["ApproximateReceiveCount"])
        return Receipt(str(record["receiptHandle"]), receives, now - sent_at)
    except (LookupError, TypeError, ValueError, OverflowError, OSError):
        return None
