"""Messages that wait for an execution of the state machine. The function itself sends them to SQS.

While the execution runs, the function sends the message again. Afterwards it replicates the key as
for any event. So the event is kept by its message, and never by the execution alone.
"""

import json
from collections.abc import Mapping
from typing import Any

from replicate.entry.invocation import Change, Message, reading, source_ref
from replicate.errors import InvalidEventError
from replicate.protocol.model import SourceRef

WATCH = "executionWatch"
"""The field that holds the key and the execution's name."""


def message(ref: SourceRef, execution: str) -> str:
    """Return the message that waits for an execution."""
    return json.dumps({WATCH: {"bucket": ref.bucket, "key": ref.key, "execution": execution}})


def read(event: Mapping[str, Any], message_id: str = "") -> Message:
    """Read one message. A malformed one becomes an error of the message."""
    try:
        with reading("an execution watch"):
            watch = event[WATCH]
            ref = source_ref(watch["bucket"], watch["key"])
            return Message(message_id, (Change(ref, watched=frozenset({str(watch["execution"])})),))
    except InvalidEventError as error:
        return Message(message_id, errors=(error,))
