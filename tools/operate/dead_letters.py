"""The messages of the dead-letter queue: why each event failed, and looking without taking."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef, ReceiveMessageResultTypeDef

BATCH = 10
"""The most messages of one request to SQS."""

UNKNOWN = "unknown"
"""The code of an event that SQS moved after its last attempt. The function's log has the error."""

_FAILURE = re.compile(r"^(?:s3://.*?: )?([a-z_]+): .*", re.MULTILINE)
"""A line that the function puts into the text of its exception, one for each failed change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event whose attempts all failed."""

    id: str
    receipt: str
    body: str
    code: str
    """The error's code, as in the function's log."""
    reason: str
    """A sentence; empty if nobody has written one."""
    sent_at: datetime


def read(message: "MessageTypeDef") -> DeadLetter:
    """Read a message of the dead-letter queue, from any sender."""
    by_eventbridge = {
        name: value.get("StringValue", "")
        for name, value in message.get("MessageAttributes", {}).items()
    }
    code, reason = _failure(message["Body"]) or (
        by_eventbridge.get("ERROR_CODE", UNKNOWN),
        by_eventbridge.get("ERROR_MESSAGE", ""),
    )
    sent_ms = int(message.get("Attributes", {}).get("SentTimestamp", "0"))
    return DeadLetter(
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        code=code,
        reason=reason,
        sent_at=datetime.fromtimestamp(sent_ms / 1000, UTC),
    )


def _failure(body: str) -> tuple[str, str] | None:
    """Return code and reason if the body has them."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    match found:
        case {"failedEvent": _, "failures": [{"code": str(code), "message": str(reason)}, *_]}:
            return code, reason  # the function itself has sent it
        case {"responsePayload": {"errorMessage": str(text), **rest}}:  # Lambda gave up
            line = _FAILURE.search(text)
            return (line[1], line[0]) if line else (str(rest.get("errorType", UNKNOWN)), text)
        case {"requestContext": {"condition": str(condition)}, "requestPayload": _}:
            return condition, "Lambda gave up before the function ran."
    return None


@dataclass(slots=True)
class DeadLetters:
    """A queue whose every message is read once, in batches.

    At the end of the `with` block, each message that was not deleted is visible again.
    """

    sqs: "SQSClient"
    url: str
    hidden_s: int
    """Time after which a message is visible again if this process is killed."""
    total: int = 0
    """Number of messages at the start, as far as SQS knows."""
    _held: dict[str, str] = field(default_factory=dict)
    """Receipt handle of each message that was received and not deleted, by its ID."""

    def __enter__(self) -> Self:
        names = self.sqs.get_queue_attributes(
            QueueUrl=self.url, AttributeNames=["ApproximateNumberOfMessages"]
        )["Attributes"]
        self.total = int(names["ApproximateNumberOfMessages"])
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for some in _batches(list(self._held.values())):
            self.sqs.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                    for n, receipt in enumerate(some)
                ],
            )

    def __iter__(self) -> Iterator[list[DeadLetter]]:
        """Yield what was in the queue at the start. Leave alone what arrives later.

        An event that fails again at once would otherwise be read for ever.
        """
        seen: set[str] = set()
        started: datetime | None = None
        while True:
            received = self.sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=BATCH,
                VisibilityTimeout=self.hidden_s,
                # SQS asks all its servers only if it may wait: then no message is overlooked.
                WaitTimeSeconds=int(len(seen) < self.total),
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=["ERROR_CODE", "ERROR_MESSAGE"],
            )
            started = started or _now(received)
            letters = [read(message) for message in received.get("Messages", [])]
            self._held.update({letter.id: letter.receipt for letter in letters})
            unseen = [letter for letter in letters if letter.id not in seen]
            if unseen:
                seen.update(letter.id for letter in unseen)
                yield [letter for letter in unseen if letter.sent_at <= started]
            elif not letters or len(seen) >= self.total:
                return
            # else letters that stay were hidden for too short a time; others are left

    def delete(self, letters: Sequence[DeadLetter]) -> int:
        """Delete up to ten messages. Return how many stay: SQS may refuse some of a request."""
        if letters:
            entries = {str(n): letter for n, letter in enumerate(letters)}
            done = self.sqs.delete_message_batch(
                QueueUrl=self.url,
                Entries=[{"Id": n, "ReceiptHandle": each.receipt} for n, each in entries.items()],
            )
            for entry in done.get("Successful", []):
                del self._held[entries[entry["Id"]].id]
        return sum(letter.id in self._held for letter in letters)


def _batches(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _now(response: "ReceiveMessageResultTypeDef") -> datetime:
    """Return the time by the clock of SQS, rounded up to a second."""
    headers: Mapping[str, Any] = response["ResponseMetadata"]["HTTPHeaders"]
    date = headers.get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return datetime.fromtimestamp(now.timestamp() + 1, UTC)
