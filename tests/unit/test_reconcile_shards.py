"""Shards cover every key once, whatever the boundaries are."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate.reconcile.runs import Shard
from replicate.reconcile.shards import MAX_PROBES, MAX_SHARDS, bisect, midpoint, shards

TEXT = st.text(
    st.one_of(st.sampled_from("ab/ ~\x7f"), st.characters(exclude_categories=["Cs"])), max_size=5
)


def holding(divided: list[Shard], key: str) -> list[int]:
    """Return the numbers of the shards that a key is in."""
    return [
        number
        for number, shard in enumerate(divided)
        if (not shard.after or key > shard.after) and (shard.to is None or key <= shard.to)
    ]


@given(boundaries=st.lists(TEXT), prefix=TEXT, keys=st.lists(TEXT), most=st.integers(1, 5))
def test_every_key_is_in_exactly_one_shard_whatever_the_boundaries_are(
    boundaries: list[str], prefix: str, keys: list[str], most: int
) -> None:
    divided = shards(boundaries, prefix, most)

    assert len(divided) <= most
    for key in [*keys, *boundaries]:
        assert len(holding(divided, prefix + key)) == 1
    assert [shard.to for shard in divided[:-1]] == [shard.after for shard in divided[1:]]


def test_many_boundaries_make_shards_of_equal_numbers_of_ranges() -> None:
    divided = shards(f"{number:05}" for number in range(4000))

    assert MAX_SHARDS / 2 < len(divided) <= MAX_SHARDS
    widths = {int(b.after) - int(a.after) for a, b in pairwise(divided[1:])}
    assert len(widths) == 1


@given(a=TEXT, b=TEXT)
def test_midpoint_is_between_its_ends(a: str, b: str) -> None:
    low, high = sorted((a, b))
    if low == high:
        return
    middle = midpoint(low, high)

    assert middle is None or low < middle < high
    if middle:
        middle.encode()


@pytest.mark.parametrize(
    "keys",
    [
        [f"logs/2026/11/{number:05}.json" for number in range(3000)],
        [f"{number:032x}" for number in range(0, 16**6, 6011)],
        ["a" * 900 + f"{number:04}" for number in range(2000)],
        [chr(0x4E00 + number) for number in range(2000)],
        ["\U0001f600", "\U0001f601"],
        ["only one"],
    ],
)
def test_bisection_finds_keys_that_divide_the_bucket(keys: list[str]) -> None:
    keys = sorted(keys)
    asked = 0

    def first_after(text: str) -> str | None:
        nonlocal asked
        asked += 1
        return next((key for key in keys if key > text), None)

    found = bisect(first_after, count=16)

    assert found == sorted(found)
    assert set(found) <= set(keys)
    assert asked <= MAX_PROBES + 12
    if len(keys) > 1000:
        assert len(found) == 15
        sizes = [sum(bool(holding([shard], key)) for key in keys) for shard in shards(found)]
        assert max(sizes) < 0.6 * len(keys), "no shard has most of the keys"


@pytest.mark.parametrize("probes", [1, 5, 20])
def test_bisection_asks_no_more_than_it_may(probes: int) -> None:
    """Two keys are soon found, and no number of probes finds more."""
    asked: list[str] = []

    def first_after(text: str) -> str | None:
        asked.append(text)
        return next((key for key in ("a" * 40, "b" * 40) if key > text), None)

    assert bisect(first_after, probes=probes) in ([], ["b" * 40])
    assert probes <= len(asked) <= probes + 1 + 7, "a probe may find a common beginning first"


def test_empty_bucket_has_no_boundaries() -> None:
    assert bisect(lambda _: None) == []
    assert shards([]) == [Shard("", None)]
