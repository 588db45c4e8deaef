"""Batches of an SQS queue.

Lambda polls the queue and invokes the function with up to 10 messages. Each body is an event in any
envelope. The response names the messages that failed, and SQS delivers only these again.
Source: "Implementing partial batch responses" in Lambda's developer guide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from replicate.entry import envelopes
from replicate.entry.invocation import Invocation, Message, Results, unsupported
from replicate.errors import InvalidEventError


@dataclass(frozen=True, slots=True)
class SqsInvocation(Invocation):
    """A batch of messages."""

    def respond(self, results: Results) -> dict[str, Any]:
        """Name the messages that failed."""
        failed = [message.id for message in self.messages if message.failures(results)]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def parse(event: Mapping[str, Any], now: datetime) -> SqsInvocation:
    """Read a batch. Raise InvalidEventError if a message has no ID to report its failure with."""
    return SqsInvocation(tuple(_message(record, now) for record in event["Records"]))


def _message(record: object, now: datetime) -> Message:
    message_id = record.get("messageId") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(message_id, str):
        raise unsupported("an SQS message has no messageId")
    try:
        body = envelopes.parsed(record.get("body"))
        return envelopes.read(body, now, message_id, _sent_at(record))
    except InvalidEventError as error:
        return Message(message_id, errors=(error,))


def _sent_at(record: Mapping[str, Any]) -> datetime | None:
    """Return when the queue got a message, if the record says so."""
    try:
        return datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC)
    except (LookupError, TypeError, ValueError, OverflowError, OSError):
        return None
