"""The merge of two listings equals arithmetic with sets, for any keys and any pages."""

from collections.abc import Iterator, Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate.errors import ListingOrderError
from replicate.reconcile.merge import merge
from replicate.reconcile.rows import ReplicaRow, SourceRow

KEYS = st.sets(
    st.text(
        alphabet=st.one_of(
            st.sampled_from("ab/"),
            st.sampled_from(
                ["\t", " ", "+", "%", "~", "\x7f", "\x80", "é", "\uffff", "\U00010000"]
            ),
            st.characters(exclude_categories=["Cs"]),
        ),
        max_size=4,
    ),
    max_size=12,
)
"""Odd keys, many of which begin alike or are the beginning of others."""


def source(key: str, size: int = 1) -> SourceRow:
    return SourceRow(key, "etag", size, "2026-01-01T00:00:00Z")


def replica(key: str, size: int = 1) -> ReplicaRow:
    return ReplicaRow(key, size, "1", "2026-01-01T00:00:00Z", {})


def in_bytes(keys: set[str]) -> list[str]:
    """Return keys in the order of both stores."""
    return sorted(keys, key=lambda key: key.encode())


def merged(left: Sequence[str], right: Sequence[str]) -> dict[str, tuple[bool, bool]]:
    """Return the keys of the pairs, in order, and on which sides they are."""
    found = {}
    for ours, theirs in merge(map(source, left), map(replica, right)):
        keys = {row.key for row in (ours, theirs) if row}
        (key,) = keys
        assert key not in found
        found[key] = (ours is not None, theirs is not None)
    return found


@given(left=KEYS, right=KEYS)
def test_pairs_are_the_union_and_say_where_each_key_is(left: set[str], right: set[str]) -> None:
    found = merged(in_bytes(left), in_bytes(right))

    assert list(found) == in_bytes(left | right)
    assert {key for key, sides in found.items() if sides == (True, True)} == left & right
    assert {key for key, sides in found.items() if sides == (True, False)} == left - right
    assert {key for key, sides in found.items() if sides == (False, True)} == right - left


@given(left=KEYS, right=KEYS, repeats=st.integers(2, 3))
def test_first_row_counts_when_a_key_is_listed_again(
    left: set[str], right: set[str], repeats: int
) -> None:
    ours = [source(key, size) for key in in_bytes(left) for size in range(repeats)]
    theirs = [replica(key, size) for key in in_bytes(right) for size in range(repeats)]

    pairs = list(merge(ours, theirs))

    assert len(pairs) == len(left | right)
    assert {row.size for pair in pairs for row in pair if row} <= {0}


@given(keys=KEYS.filter(lambda keys: len(keys) > 1), data=st.data())
def test_order_violation_is_an_error_that_names_side_and_both_keys(
    keys: set[str], data: st.DataObject
) -> None:
    ordered = in_bytes(keys)
    at = data.draw(st.integers(0, len(ordered) - 2))
    ordered[at], ordered[at + 1] = ordered[at + 1], ordered[at]

    with pytest.raises(ListingOrderError) as error:
        merged(ordered, [])
    assert f"S3 is not in order: {ordered[at + 1]!r} follows {ordered[at]!r}" in error.value.message
    with pytest.raises(ListingOrderError, match="GCS"):
        merged([], ordered)


@given(
    before=KEYS,
    after=KEYS,
    right=KEYS,
    size=st.integers(1, 3),
    changes_at=st.integers(0, 5),
)
def test_keys_that_stay_are_paired_while_a_listing_changes_underneath(
    before: set[str], after: set[str], right: set[str], size: int, changes_at: int
) -> None:
    """A page shows the bucket as it is when the page is read, as S3 promises."""

    def pages() -> Iterator[SourceRow]:
        last, number, first = "", 0, True
        while True:
            keys = in_bytes(before if number < changes_at else after)
            page = list(islice((key for key in keys if key > last or first), size))
            if not page:
                return
            yield from map(source, page)
            last, number, first = page[-1], number + 1, False

    found = list(merge(pages(), map(replica, in_bytes(right))))
    listed = {ours.key for ours, _ in found if ours}

    assert before & after <= listed <= before | after
    assert {theirs.key for _, theirs in found if theirs} == right
    assert {ours.key for ours, theirs in found if ours and theirs} == listed & right


def test_merge_reads_no_more_than_it_needs() -> None:
    """Memory is constant: rows come one by one."""
    rows = iter([source("a"), source("b"), source("c")])

    next(merge(rows, iter([])))

    assert [row.key for row in rows] == ["b", "c"]
