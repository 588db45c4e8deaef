"""Messages that wait for an execution of the state machine. The function itself sends them to SQS.

While the execution runs, the function sends the message again. Afterwards it replicates the key as
for any event. So an event that waits is in a message of the queue, never in the execution alone.
The message and the execution's input hold what must be known of the event: its time and evidence.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from replicate.entry.invocation import Change, Delivery, History, Message
from replicate.entry.reading import count, is_redriven, reading, source_ref
from replicate.protocol.evidence import HINT, Evidence
from replicate.protocol.handover import series
from replicate.protocol.model import SourceRef

WATCH = "executionWatch"
"""The field that holds the key and the execution's name."""


def facts(change: Change) -> dict[str, Any]:
    """Describe an event as a JSON value, for `change`."""
    return {
        "occurred_at": change.occurred_at.isoformat() if change.occurred_at else None,
        "evidence": str(change.evidence),
    }


def change(ref: SourceRef, described: Mapping[str, Any] | None) -> Change:
    """Return the change that `facts` has described; without them, one that nothing is known of."""
    known = described or {}
    evidence = known.get("evidence")
    return Change(
        ref,
        _time(known.get("occurred_at")),
        evidence=Evidence.parse(evidence) if evidence else HINT,
    )


def write_message(waiting: Change, execution: str, now: datetime) -> str:
    """Return the message that waits for an execution.

    If the event has waited for another version, or another state of the destination, it begins to
    wait anew. Its age goes on: somebody else may change the destination again and again.
    """
    waits_anew = waiting.watched and series(execution) not in map(series, waiting.watched)
    since = None if waits_anew else waiting.since
    watch = {
        "bucket": waiting.ref.bucket,
        "key": waiting.ref.key,
        "execution": execution,
        "event": facts(waiting),
        "attempts": waiting.attempts,
        "since": (since or now).isoformat(),
        "first_since": (waiting.first_since or waiting.since or now).isoformat(),
        "made_at": now.isoformat(),
    }
    return json.dumps({WATCH: watch})


def read_message(event: Mapping[str, Any], delivery: Delivery) -> Message:
    """Read one message. A redrive lets it begin to wait anew. Raise InvalidEventError."""
    with reading("an execution watch"):
        watch = event[WATCH]
        known = change(source_ref(watch["bucket"], watch["key"]), watch.get("event"))
        waits_anew = is_redriven(_time(watch.get("made_at")), delivery.sent_at)
        since = None if waits_anew else _time(watch.get("since"))
        waiting = replace(
            known,
            watched=frozenset({str(watch["execution"])}),
            since=since,
            first_since=since and (_time(watch.get("first_since")) or since),
        )
        history = History(attempts=count(watch.get("attempts")), sent_at=waiting.first_since)
        return Message(changes=(waiting,), history=history)


def _time(text: str | None) -> datetime | None:
    """Read a time. Raise ValueError without a time zone: it could not be compared."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    return time
