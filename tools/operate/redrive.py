"""Move the events of the dead-letter queue to the event queue, each at least once."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tools.operate.dead_letters import DeadLetter, DeadLetters

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

HIDDEN_S = 600
"""Events that stay in the dead-letter queue are hidden for so long if this process is killed."""


@dataclass(slots=True)
class Tally:
    """What a redrive has done so far, by the code of the error."""

    total: int = 0
    moved: Counter[str] = field(default_factory=Counter)
    """Without `dry_run`; else what would be moved."""
    kept: Counter[str] = field(default_factory=Counter)
    """Events with another code, and those that SQS did not accept."""
    stayed: int = 0
    """Events that were moved, and that SQS did not delete: the next redrive moves them again."""


def redrive(
    sqs: "SQSClient",
    source: str,
    destination: str,
    *,
    codes: Collection[str] = (),
    rate: float = float("inf"),
    dry_run: bool = False,
    show: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Move the events with one of these error codes, all if there are none.

    `source` and `destination` are URLs of queues, `rate` is in events a second. An event is sent
    before it is deleted, so an interruption may repeat some events and loses none.
    """
    tally, started = Tally(), time.monotonic()
    with DeadLetters(sqs, source, HIDDEN_S) as queue:
        tally.total = queue.total
        for letters in queue:
            moved = [letter for letter in letters if not codes or letter.code in codes]
            if moved and not dry_run:
                moved = _send(sqs, destination, moved)
                tally.stayed += queue.delete(moved)
            tally.moved.update(letter.code for letter in moved)
            tally.kept.update(letter.code for letter in letters if letter not in moved)
            show(tally)
            if not dry_run:
                time.sleep(max(0, started + tally.moved.total() / rate - time.monotonic()))
    return tally


def _send(sqs: "SQSClient", url: str, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Send up to ten events. Return those that SQS accepted."""
    try:
        done = sqs.send_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(n), "MessageBody": each.body} for n, each in enumerate(letters)],
        )
    except sqs.exceptions.BatchRequestTooLong:
        half = len(letters) // 2
        return [*_send(sqs, url, letters[:half]), *_send(sqs, url, letters[half:])]
    return [letters[int(entry["Id"])] for entry in done.get("Successful", [])]
