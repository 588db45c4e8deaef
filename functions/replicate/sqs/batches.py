"""Requests of SQS that take several entries."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

BATCH = 10
"""Most entries of one request. Source: "SendMessageBatch" in SQS's API reference."""


def batches(entries: Sequence[T]) -> Iterator[Sequence[T]]:
    """Divide entries into those of each request."""
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]
