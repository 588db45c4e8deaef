"""Which failures are permanent, and how long a message waits until it is delivered again."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from replicate.errors import ReplicationError

GIVE_UP_AFTER = timedelta(days=10)
"""Age after which a message becomes a dead letter although its failure is transient.

The queue would delete it after 12 days. The age counts from the moment in which the message was put
into the queue.
"""

MAX_TRANSFERS = 5
"""Transfers that did not complete the copy, after which the object is given up.

It is damaged in S3, or too slow. Every attempt is paid for by its bytes. Those of Lambda, up to
three before the event comes into the queue, are not counted.
"""

COSTLY_WAITS = 3
COSTLY_LONGEST_S = 3 * 3600.0
"""How many times longer an event waits after a costly failure, and at most how many seconds.

A day then has about ten transfers. They do not count as `MAX_TRANSFERS`, because an outage may
cause them.
"""

_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeliveryPolicy:
    """How long a failed message waits until it is delivered again. Times are in seconds.

    Not measured. The first wait lets a request that got no response take effect or die, before the
    event runs again (docs/GUARANTEES.md). The longest one is the tail of an outage.
    """

    first_s: float = 60.0
    longest_s: float = 3600.0

    def delay_s(self, receives: int, *, is_costly: bool = False) -> float:
        """Return a random delay: exponential backoff, with jitter over the upper half.

        After one receive it is between `first_s` and twice as long. No delay is shorter, and after
        a costly failure it is longer.
        """
        longest = min(self.longest_s, self.first_s * 2.0 ** min(receives, 32))
        delay_s = _RANDOM.uniform(max(longest / 2, min(self.first_s, longest)), longest)
        longer_s = min(COSTLY_WAITS * delay_s, COSTLY_LONGEST_S) if is_costly else 0.0
        return max(delay_s, longer_s)


def is_permanent(
    errors: Iterable[ReplicationError], *, age: timedelta | None, transfers: int
) -> bool:
    """Return whether another delivery of a message with these errors makes no sense.

    `age` is None if the message comes from no queue. If one error is transient, the message is
    delivered again. The permanent errors then occur again and are reported.
    """
    if age is not None and age > GIVE_UP_AFTER:
        return True
    is_tried_often = transfers >= MAX_TRANSFERS
    return not any(
        error.retryable and not (error.moves_bytes and is_tried_often) for error in errors
    )
