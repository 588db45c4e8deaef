"""Settle messages that failed, before the function responds.

A permanent failure is stored in the dead-letter queue, with its reason. A transient one of the
event queue gets the time of its next delivery, in a new message if a transfer must be counted.
Whatever cannot be stored is delivered again.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from replicate.entry.invocation import Context, Invocation
from replicate.errors import ReplicationError
from replicate.protocol.deadline import Deadline
from replicate.settlement.failure import Failure
from replicate.settlement.letters import dead_letter, retried_event
from replicate.settlement.policy import RedeliveryPolicy

RESPONSE_S = 0.5
"""Seconds at the end of an invocation in which no failure is stored, so that it can respond."""


class Queues(Protocol):
    """The stack's queues."""

    def store_letter(self, letter: str, deadline: Deadline) -> None:
        """Store a text in the dead-letter queue. Raise ReplicationError."""

    def resend(self, message: str, delay_s: int, deadline: Deadline) -> None:
        """Store a text in the event queue, for a delivery after `delay_s`. Raise ReplicationError.

        The delay is in seconds, 900 at most.
        """

    def postpone(self, delays: Sequence[tuple[str, int]], deadline: Deadline) -> None:
        """Let messages wait, each for some seconds, by receipt handle. Raise ReplicationError.

        A message that is gone, or was delivered again meanwhile, is no error.
        """


class Settlement:
    """Decides what becomes of messages that failed, and stores it."""

    def __init__(
        self,
        queues: Queues | None,
        policy: RedeliveryPolicy,
        on_error: Callable[[ReplicationError], None],
    ) -> None:
        """Without `queues` the invoker alone stores what failed.

        `on_error` gets the error of a queue. The message is then delivered again: at the latest
        when its visibility timeout ends.
        """
        self._queues = queues
        self._policy = policy
        self._on_error = on_error

    def settle(
        self, invocation: Invocation, failures: Sequence[Failure], context: Context
    ) -> Invocation:
        """Return the invocation without the messages that are stored in a queue.

        Messages are not settled if the invoker learns from the response what failed.
        """
        if self._queues is None or invocation.reports_failures:
            return invocation
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - RESPONSE_S)
        stored: set[str] = set()
        delays: list[tuple[str, int]] = []
        for failure in failures:
            message = failure.message
            if self._store(self._queues, failure, deadline, context.aws_request_id):
                stored.add(message.id)
            elif message.receipt:
                delays.append((message.receipt.handle, round(failure.delay_s(self._policy))))
        if delays:
            try:
                self._queues.postpone(delays, deadline)
            except ReplicationError as error:
                self._on_error(error)
        return invocation.without(stored)

    def _store(self, queues: Queues, failure: Failure, deadline: Deadline, request_id: str) -> bool:
        """Store a message that is not to be delivered as it is. Return whether it is stored."""
        now = datetime.now(UTC)
        try:
            if failure.is_permanent:
                queues.store_letter(dead_letter(failure, now, request_id), deadline)
                return True
            if message := retried_event(failure, now, self._policy):
                queues.resend(*message, deadline)
                return True
        except ReplicationError as error:
            self._on_error(error)
        return False
