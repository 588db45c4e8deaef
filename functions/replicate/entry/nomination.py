"""Nominations: keys that a reconcile found to differ. The function itself sends them to SQS.

A nomination is a hint, as every event is, and no evidence of a deletion: a user or a lifecycle rule
may have deleted the source of an extra replica. So it deletes only where both are replicated.
"""

import json
from collections.abc import Mapping
from typing import Any

from replicate.entry.invocation import Change, Delivery, Message
from replicate.entry.reading import reading, source_ref
from replicate.protocol.model import SourceRef

NOMINATION = "nomination"
"""The field that holds the key."""


def write_message(ref: SourceRef) -> str:
    """Return the message that nominates a key."""
    return json.dumps({NOMINATION: {"bucket": ref.bucket, "key": ref.key}})


def read_message(event: Mapping[str, Any], _delivery: Delivery) -> Message:
    """Read one message. Raise InvalidEventError."""
    with reading("a nomination"):
        named = event[NOMINATION]
        ref = source_ref(named["bucket"], named["key"])
        return Message(changes=(Change(ref),))
