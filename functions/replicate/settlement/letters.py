"""What is stored of a message that failed: JSON that `entry.envelopes` opens again.

A permanent failure becomes a dead letter: the event, and why it failed. A transient one that
transferred bytes becomes a new message that counts the transfer: SQS counts deliveries only.
"""

import json
from datetime import UTC, datetime

from replicate import report
from replicate.entry.envelopes import FAILED_EVENT, RETRIED_EVENT
from replicate.entry.invocation import Cause
from replicate.settlement.failure import Failure
from replicate.settlement.policy import MAX_TRANSFERS, RedeliveryPolicy

MAX_FAILURES = 50
"""Most failures that a dead letter describes. The log has all of them."""

MAX_MESSAGE_CHARACTERS = 1000
"""Longest text of an error in a dead letter. The log has all of it."""

MAX_BODY_BYTES = 1024 * 1024
"""Largest message. Source: "Amazon SQS message quotas" in SQS's developer guide."""

MAX_RESEND_DELAY_S = 900
"""Longest time until a new message is delivered. Source: "SendMessage" in SQS's API reference."""


def dead_letter(failure: Failure, now: datetime, request_id: str) -> str:
    """Return the dead letter, or the bare event if it leaves no room for the reason.

    docs/OPERATIONS.md describes the fields.
    """
    event = failure.message.event
    letter = json.dumps(
        {
            FAILED_EVENT: event,
            "failures": [_described(cause) for cause in failure.causes[:MAX_FAILURES]],
            "attempts": failure.message.attempts,
            "failedAt": now.astimezone(UTC).isoformat(),
            "requestId": request_id,
        }
    )
    if len(letter) <= MAX_BODY_BYTES:  # all of it is ASCII
        return letter
    return _compact(event)


def retried_event(
    failure: Failure, now: datetime, policy: RedeliveryPolicy
) -> tuple[str, int] | None:
    """Return a message that counts the transfer of this delivery, and its delay in seconds.

    None if there is nothing to count, or the message would be too large.
    """
    message, transfers = failure.message, failure.transfers
    if message.receipt is None or not message.history.transfers < transfers < MAX_TRANSFERS:
        return None
    body = json.dumps(
        {
            RETRIED_EVENT: message.event,
            "transfers": transfers,
            "attempts": message.attempts,
            "firstSentAt": (now - message.receipt.age).isoformat(),
            "sentAt": now.isoformat(),
        }
    )
    delay_s = min(round(policy.delay_s(transfers)), MAX_RESEND_DELAY_S)
    return (body, delay_s) if len(body) <= MAX_BODY_BYTES else None


def _compact(event: object) -> str:
    """Return a text that takes no more bytes than the one that was delivered.

    Invalid Unicode is replaced: SQS would refuse it.
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
