"""Messages that failed: which of them are delivered again, when, and what is kept of the others.

A transient failure returns to the queue. A permanent one becomes a dead letter: the event, and why
it failed, in JSON. `envelopes` opens a dead letter again when it is redriven.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from replicate import report
from replicate.entry.envelopes import FAILED_EVENT
from replicate.entry.invocation import Cause, Message, Results

GIVE_UP_AFTER = timedelta(days=10)
"""Age after which a message is kept as a dead letter although its failure may pass.

The queue would delete it after 12 days. The age counts from the moment in which the message was put
into the queue.
"""

MAX_TRANSFERS = 5
"""Deliveries after which an object that was transferred each time, and never arrived, is given up.

It is damaged in S3, or too slow. Every attempt is paid for by its bytes.
"""

MAX_MESSAGE_CHARACTERS = 1000
"""Longest text of an error in a dead letter. The log has all of it."""

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

        One transient cause makes it worthwhile: it then meets the permanent ones again.
        """
        receipt = self.message.receipt
        if receipt is not None and receipt.age > GIVE_UP_AFTER:
            return True
        is_tried_often = receipt is not None and receipt.receives >= MAX_TRANSFERS
        return not any(
            cause.error.retryable and not (cause.error.moves_bytes and is_tried_often)
            for cause in self.causes
        )

    def delay_s(self, policy: RedeliveryPolicy) -> float:
        """Return the seconds until the next delivery: at least those that a store asked for."""
        receives = self.message.receipt.receives if self.message.receipt else 1
        asked = max((cause.error.retry_after_s or 0.0 for cause in self.causes), default=0.0)
        return max(policy.delay_s(receives), min(asked, policy.longest_s))

    def letter(self, now: datetime, request_id: str) -> str:
        """Return the dead letter. docs/OPERATIONS.md describes its fields."""
        receives = self.message.receipt.receives if self.message.receipt else 1
        return json.dumps(
            {
                FAILED_EVENT: self.message.event,
                "failures": [_described(cause) for cause in self.causes],
                "attempts": self.message.attempts + receives,
                "failedAt": now.astimezone(UTC).isoformat(),
                "requestId": request_id,
            }
        )


def failures(messages: Iterable[Message], results: Results) -> Iterator[Failure]:
    """Yield the messages that failed."""
    for message in messages:
        if causes := message.causes(results):
            yield Failure(message, causes)


def _described(cause: Cause) -> dict[str, object]:
    ref = cause.ref
    error = report.error(cause.error)
    return {
        **error,
        "message": cause.error.message[:MAX_MESSAGE_CHARACTERS],
        "status": cause.error.status,
        "source": {"bucket": ref.bucket, "key": ref.key} if ref else None,
    }
