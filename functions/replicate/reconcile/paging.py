"""Listings that go on after a failure, and that read the next page ahead."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from replicate.parallel import read_ahead
from replicate.reconcile.ports import Pages
from replicate.reconcile.rows import ReplicaRow, SourceRow
from replicate.retry import TRANSIENT, Backoff

Row = TypeVar("Row", SourceRow, ReplicaRow)


def pages(
    list_from: Callable[[str], Iterator[Sequence[Row]]],
    after: str,
    to: str | None,
    backoff: Backoff,
) -> Pages[Row]:
    """Yield the pages of the rows after the key `after`, up to the page that reaches `to`.

    `list_from` lists from a key on, with or without that key.
    """
    return read_ahead(_resumed(list_from, after, to, backoff))


def _resumed(
    list_from: Callable[[str], Iterator[Sequence[Row]]],
    after: str,
    to: str | None,
    backoff: Backoff,
) -> Pages[Row]:
    """Yield the pages. After a failure, list on after the last key."""
    while True:
        try:
            for page in list_from(after):
                backoff.progressed()
                rows = page[1:] if page and page[0].key == after else page
                if rows:
                    after = rows[-1].key
                    yield rows
                    if to is not None and after >= to:
                        return
        except TRANSIENT as error:
            backoff.failed(error)
        else:
            return
