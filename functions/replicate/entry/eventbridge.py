"""EventBridge events of S3.

EventBridge invokes the function asynchronously, or sends the same JSON through SQS. Keys are not
encoded. Source: "EventBridge event message structure" in S3's user guide.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from replicate.entry.invocation import Change, Delivery, Message
from replicate.entry.reading import expect, reading, source_ref, stated_evidence, stated_size


def read_message(event: Mapping[str, Any], delivery: Delivery) -> Message:
    """Read one event. Raise InvalidEventError."""
    return Message(changes=(_change(event, delivery.now),), is_s3_event=True)


def _change(event: Mapping[str, Any], now: datetime) -> Change:
    with reading("an EventBridge event"):
        detail = event["detail"]
        occurred_at = datetime.fromisoformat(event["time"])
        size = stated_size(detail["object"].get("size"))
        return Change(
            source_ref(detail["bucket"]["name"], detail["object"]["key"]),
            occurred_at,
            expect(
                created=event["detail-type"] == "Object Created",
                size=size,
                age=now - occurred_at,
            ),
            size,
            stated_evidence(
                user_deleted=event["detail-type"] == "Object Deleted"
                and detail.get("reason") == "DeleteObject",
                occurred_at=occurred_at,
            ),
        )
