"""What the function does with messages that failed, before it responds.

A permanent failure is stored in the dead-letter queue, with its reason. A transient one of the
event queue gets the time of its next delivery, in a new message if a transfer must be counted.
Whatever cannot be stored is delivered again.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from replicate.entry.failures import Failure, RedeliveryPolicy
from replicate.errors import ReplicationError
from replicate.protocol.deadline import Deadline


class Queues(Protocol):
    """The stack's queues."""

    def keep(self, letter: str, deadline: Deadline) -> None:
        """Store a text in the dead-letter queue. Raise ReplicationError."""

    def resend(self, message: str, delay_s: int, deadline: Deadline) -> None:
        """Store a text in the event queue, for a delivery after `delay_s`. Raise ReplicationError.

        The delay is in seconds, 900 at most.
        """

    def postpone(self, delays: Sequence[tuple[str, int]], deadline: Deadline) -> None:
        """Let messages wait, each for some seconds, by receipt handle. Raise ReplicationError.

        A message that is gone, or was delivered again meanwhile, is no error.
        """


def settle(
    failures: Iterable[Failure],
    queues: Queues,
    policy: RedeliveryPolicy,
    *,
    deadline: Deadline,
    now: datetime,
    request_id: str,
    report: Callable[[ReplicationError], None],
) -> frozenset[str]:
    """Store or postpone each failed message. Return the ids of those that are stored elsewhere.

    `report` gets the error of a queue. The message is then delivered again: at the latest when its
    visibility timeout ends.
    """
    kept: set[str] = set()
    delays: list[tuple[str, int]] = []
    for failure in failures:
        message = failure.message
        try:
            if failure.is_permanent:
                queues.keep(failure.letter(now, request_id), deadline)
                kept.add(message.id)
                continue
            if resent := failure.resent(now, policy):
                queues.resend(*resent, deadline)
                kept.add(message.id)
                continue
        except ReplicationError as error:
            report(error)
        if message.receipt:
            delays.append((message.receipt.handle, round(failure.delay_s(policy))))
    if delays:
        try:
            queues.postpone(delays, deadline)
        except ReplicationError as error:
            report(error)
    return frozenset(kept)
