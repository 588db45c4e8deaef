"""Merge two ordered listings into pairs, in constant memory. Pure."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from replicate.errors import ListingOrderError
from replicate.reconcile.rows import Pair, ReplicaRow, SourceRow

Row = TypeVar("Row", SourceRow, ReplicaRow)


def merge(source: Iterable[SourceRow], replicas: Iterable[ReplicaRow]) -> Iterator[Pair]:
    """Yield one pair for each key of either listing, in the order of keys.

    Both listings are in the byte order of UTF-8, which is the order of Python's strings. Of a key
    that is listed twice in a row the first row counts. Raise ListingOrderError.
    """
    left, right = _ordered(source, "S3"), _ordered(replicas, "GCS")
    ours, theirs = next(left, None), next(right, None)
    while ours is not None and theirs is not None:
        if ours.key == theirs.key:
            yield ours, theirs
            ours, theirs = next(left, None), next(right, None)
        elif ours.key < theirs.key:
            yield ours, None
            ours = next(left, None)
        else:
            yield None, theirs
            theirs = next(right, None)
    while ours is not None:
        yield ours, None
        ours = next(left, None)
    while theirs is not None:
        yield None, theirs
        theirs = next(right, None)


def _ordered(rows: Iterable[Row], side: str) -> Iterator[Row]:
    """Yield each key once. Raise ListingOrderError for a key that is less than the one before."""
    last = ""
    is_first = True
    for row in rows:
        key = row.key
        if key > last or is_first:
            yield row
            last, is_first = key, False
        elif key < last:
            raise ListingOrderError(
                f"The listing of {side} is not in order: {key!r} follows {last!r}. Nothing can be"
                " said about the keys between them. Start the run again; if it happens again,"
                " report it with both keys."
            )
