"""Messages that failed: which of them are delivered again, when, and what is kept of the others.

A transient failure returns to the queue. If it transferred bytes, the function sends the event to
the queue itself, because SQS counts deliveries only. A permanent failure becomes a dead letter: the
event, and why it failed. Both are JSON that `envelopes` opens again.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from replicate import report
from replicate.entry.envelopes import FAILED_EVENT, RETRIED_EVENT
from replicate.entry.invocation import Cause, Message, Results

GIVE_UP_AFTER = timedelta(days=10)
"""Age after which a message is kept as a dead letter although its failure is transient.

The queue would delete it after 12 days. The age counts from the moment in which the message was put
into the queue.
"""

MAX_TRANSFERS = 5
"""Transfers after which an object that never arrived is given up.

It is damaged in S3, or too slow. Every attempt is paid for by its bytes. Those of Lambda, up to
three before the event comes into the queue, are not counted.
"""

COSTLY_WAITS = 3
COSTLY_LONGEST_S = 3 * 3600.0
"""How many times longer an event waits after a costly failure, and at most how many seconds.

A day then has about ten transfers. They do not count as `MAX_TRANSFERS`, because an outage may
cause them.
"""

MAX_FAILURES = 50
"""Most failures that a dead letter describes. The log has all of them."""

MAX_MESSAGE_CHARACTERS = 1000
"""Longest text of an error in a dead letter. The log has all of it."""

MAX_BODY_BYTES = 1024 * 1024
"""Largest message. Source: "Amazon SQS message quotas" in SQS's developer guide."""

MAX_RESEND_DELAY_S = 900
"""Longest time until a new message is delivered. Source: "SendMessage" in SQS's API reference."""

_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeliveryPolicy:
    """How long a failed message waits until it is delivered again. Times are in seconds.

    Not measured. The first wait lets a request that got no response take effect or die, before the
    event runs again (docs/GUARANTEES.md). The longest one is the tail of an outage.
    """

    first_s: float = 60.0
    longest_s: float = 3600.0

    def delay_s(self, receives: int) -> float:
        """Return a random delay: exponential backoff, with jitter over the upper half.

        After one receive it is between `first_s` and twice as long. No delay is shorter.
        """
        longest = min(self.longest_s, self.first_s * 2.0 ** min(receives, 32))
        return _RANDOM.uniform(max(longest / 2, min(self.first_s, longest)), longest)


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that failed, and why."""

    message: Message
    causes: tuple[Cause, ...]

    @property
    def is_permanent(self) -> bool:
        """Whether another delivery makes no sense.

        If one cause may pass, the message is delivered again. The permanent causes then fail again
        and are reported.
        """
        receipt = self.message.receipt
        if receipt is not None and receipt.age > GIVE_UP_AFTER:
            return True
        is_tried_often = self._transfers >= MAX_TRANSFERS
        return not any(
            cause.error.retryable and not (cause.error.moves_bytes and is_tried_often)
            for cause in self.causes
        )

    @property
    def _receives(self) -> int:
        return self.message.receipt.receives if self.message.receipt else 1

    @property
    def _transfers(self) -> int:
        """Deliveries in which the bytes of an object were transferred in vain, this one included.

        No message can count those of Lambda's own attempts.
        """
        moved = any(cause.error.moves_bytes for cause in self.causes)
        return self.message.history.transfers + (moved and self.message.receipt is not None)

    def resent(self, now: datetime, policy: RedeliveryPolicy) -> tuple[str, int] | None:
        """Return a message that counts the transfer of this delivery, and its delay in seconds.

        None if there is nothing to count, or the message would be too large.
        """
        receipt, transfers = self.message.receipt, self._transfers
        if receipt is None or not self.message.history.transfers < transfers < MAX_TRANSFERS:
            return None
        body = json.dumps(
            {
                RETRIED_EVENT: self.message.event,
                "transfers": transfers,
                "attempts": self.message.attempts,
                "firstSentAt": (now - receipt.age).isoformat(),
                "sentAt": now.isoformat(),
            }
        )
        delay_s = min(round(policy.delay_s(transfers)), MAX_RESEND_DELAY_S)
        return (body, delay_s) if len(body) <= MAX_BODY_BYTES else None

    def delay_s(self, policy: RedeliveryPolicy) -> float:
        """Return the seconds until the next delivery: at least those that a store asked for."""
        asked = max((cause.error.retry_after_s or 0.0 for cause in self.causes), default=0.0)
        is_costly = any(cause.error.is_costly for cause in self.causes)
        delay_s = policy.delay_s(self._receives)
        longer_s = min(COSTLY_WAITS * delay_s, COSTLY_LONGEST_S) if is_costly else 0.0
        return max(delay_s, longer_s, min(asked, policy.longest_s))

    def letter(self, now: datetime, request_id: str) -> str:
        """Return the dead letter, or the bare event if it leaves no room for the reason.

        docs/OPERATIONS.md describes the fields.
        """
        event = self.message.event
        letter = json.dumps(
            {
                FAILED_EVENT: event,
                "failures": [_described(cause) for cause in self.causes[:MAX_FAILURES]],
                "attempts": self.message.attempts,
                "failedAt": now.astimezone(UTC).isoformat(),
                "requestId": request_id,
            }
        )
        if len(letter) <= MAX_BODY_BYTES:  # all of it is ASCII
            return letter
        return _compact(event)


def failures(messages: Iterable[Message], results: Results) -> Iterator[Failure]:
    """Yield the messages that failed."""
    for message in messages:
        if causes := message.causes(results):
            yield Failure(message, causes)


def oldest_retried(failed: Iterable[Failure]) -> timedelta | None:
    """Return the age of the oldest message that is delivered again; None if none is."""
    ages = [
        failure.message.receipt.age
        for failure in failed
        if failure.message.receipt and not failure.is_permanent
    ]
    return max(ages, default=None)


def _compact(event: object) -> str:
    """Return a text that takes no more bytes than the one that was delivered.

    What is no Unicode is replaced: SQS would refuse it.
    """
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return (event if isinstance(event, str) else text).encode(errors="replace").decode()


def _described(cause: Cause) -> dict[str, object]:
    ref = cause.ref
    error = report.error(cause.error)
    return {
        **error,
        "message": cause.error.message[:MAX_MESSAGE_CHARACTERS],
        "status": cause.error.status,
        "source": {"bucket": ref.bucket, "key": ref.key} if ref else None,
    }
