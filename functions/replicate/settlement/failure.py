"""Messages that failed, and what is known of their deliveries."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from replicate.entry.invocation import Cause, Message, Results
from replicate.settlement.policy import RedeliveryPolicy, is_permanent


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that failed, and why."""

    message: Message
    causes: tuple[Cause, ...]

    @property
    def is_permanent(self) -> bool:
        """Whether another delivery makes no sense."""
        receipt = self.message.receipt
        return is_permanent(
            [cause.error for cause in self.causes],
            age=receipt.age if receipt else None,
            transfers=self.transfers,
        )

    @property
    def transfers(self) -> int:
        """Deliveries that transferred an object's bytes without completing the copy, this included.

        No message can count those of Lambda's own attempts.
        """
        moved = any(cause.error.moves_bytes for cause in self.causes)
        return self.message.history.transfers + (moved and self.message.receipt is not None)

    def delay_s(self, policy: RedeliveryPolicy) -> float:
        """Return the seconds until the next delivery: at least those that a store asked for."""
        asked = max((cause.error.retry_after_s or 0.0 for cause in self.causes), default=0.0)
        is_costly = any(cause.error.is_costly for cause in self.causes)
        delay_s = policy.delay_s(self._receives, is_costly=is_costly)
        return max(delay_s, min(asked, policy.longest_s))

    @property
    def _receives(self) -> int:
        return self.message.receipt.receives if self.message.receipt else 1


def failures(messages: Iterable[Message], results: Results) -> list[Failure]:
    """Return the messages that failed."""
    return [Failure(message, why) for message in messages if (why := message.causes(results))]


def oldest_redelivered(failed: Iterable[Failure]) -> timedelta | None:
    """Return the age of the oldest message that is delivered again; None if none is."""
    ages = [
        failure.message.receipt.age
        for failure in failed
        if failure.message.receipt and not failure.is_permanent
    ]
    return max(ages, default=None)
