"""Events that S3, SNS or EventBridge send. Nobody reads the response.

Only an exception makes Lambda retry the event and then send it to its failure destination: the
event queue. `envelopes` reads the event, also if it comes in an envelope of SNS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from replicate.entry import envelopes
from replicate.entry.invocation import Context, Delivery, Invocation, Results
from replicate.errors import BatchFailedError
from replicate.protocol.model import Result
from replicate.report import result as described


@dataclass(frozen=True, slots=True)
class AsynchronousInvocation(Invocation):
    """One event. Its only message is the whole event."""

    def respond(self, results: Results) -> dict[str, Any]:
        """Return all results. Raise BatchFailedError if a change failed, InvalidEventError."""
        causes = [cause for _, why in self.failed(results) for cause in why]
        ended = [results[change.ref] for change in self.changes]
        done = [result for result in ended if isinstance(result, Result)]
        if causes and not ended:
            raise causes[0].error  # nothing of the event could be read
        if causes:
            count = f"{len(causes)} of {len(causes) + len(done)} changes failed:"
            raise BatchFailedError("\n".join([count, *map(str, causes)]))
        return {"results": [described(result) for result in done]}


def parse_invocation(
    event: Mapping[str, Any], now: datetime, _context: Context
) -> AsynchronousInvocation:
    """Read an event. What cannot be read is an error of the message."""
    return AsynchronousInvocation((envelopes.read_message(event, Delivery(now)),))
