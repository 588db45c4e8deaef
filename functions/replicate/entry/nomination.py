"""Nominations: keys that a reconcile found to differ. The function itself sends them to SQS.

A nomination is a hint, as every event is, and no evidence of a deletion: a user or a lifecycle rule
may have deleted the source of an extra replica. So it deletes only where both are replicated.
"""

import json
from collections.abc import Mapping
from typing import Any

from replicate.entry.invocation import Change, Message
from replicate.entry.reading import reading, source_ref
from replicate.errors import InvalidEventError
from replicate.protocol.model import SourceRef

NOMINATION = "nomination"
"""The field that holds the key."""


def message(ref: SourceRef) -> str:
    """Return the message that nominates a key."""
    return json.dumps({NOMINATION: {"bucket": ref.bucket, "key": ref.key}})


def read(event: Mapping[str, Any], message_id: str = "") -> Message:
    """Read one message. A malformed one becomes an error of the message."""
    try:
        with reading("a nomination"):
            named = event[NOMINATION]
            ref = source_ref(named["bucket"], named["key"])
            return Message(message_id, (Change(ref),))
    except InvalidEventError as error:
        return Message(message_id, errors=(error,))
