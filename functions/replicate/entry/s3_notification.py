"""S3 event notifications.

S3 invokes the function asynchronously, or sends the same JSON through SQS or SNS. Keys are
URL-encoded, and a `+` is a space. Source: "Event message structure" in S3's user guide.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from replicate.entry.invocation import Change, Delivery, Message
from replicate.entry.reading import (
    decoded,
    expect,
    reading,
    source_ref,
    stated_evidence,
    stated_size,
    unsupported,
)
from replicate.errors import InvalidEventError


def read_message(event: Mapping[str, Any], delivery: Delivery) -> Message:
    """Read all records. Raise InvalidEventError if there are none.

    A malformed record becomes an error of the message and does not stop the other records. The test
    event that S3 sends when notifications are configured has no records and is supported.
    """
    if event.get("Event") == "s3:TestEvent":
        return Message()
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        raise unsupported("missing Records")
    changes: list[Change] = []
    errors: list[InvalidEventError] = []
    for number, record in enumerate(records):
        try:
            changes.append(_change(record, delivery.now))
        except InvalidEventError as error:
            errors.append(InvalidEventError(f"Records[{number}]: {error.message}"))
    return Message(changes=tuple(changes), errors=tuple(errors), is_s3_event=bool(changes))


def _change(record: object, now: datetime) -> Change:
    if not isinstance(record, Mapping) or record.get("eventSource") != "aws:s3":
        raise unsupported("eventSource is not aws:s3")
    with reading("an S3 record"):
        name, s3 = record["eventName"], record["s3"]
        occurred_at = datetime.fromisoformat(record["eventTime"])
        size = stated_size(s3["object"].get("size"))
        return Change(
            source_ref(s3["bucket"]["name"], decoded(s3["object"]["key"])),
            occurred_at,
            expect(
                created=name.startswith("ObjectCreated:"),
                size=size,
                age=now - occurred_at,
            ),
            size,
            stated_evidence(
                user_deleted=name.startswith("ObjectRemoved:"), occurred_at=occurred_at
            ),
        )
