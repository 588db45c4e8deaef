"""What the report of a reconcile has of all shards: sums, prefixes and samples, within limits."""

from typing import Any

import pytest

from replicate.reconcile import counts
from replicate.reconcile.report import conclude, summary
from replicate.reconcile.runs import Mode, ReconcilePlan, Request, Shard
from replicate.reconcile.tally import GROUP_NAMES, OTHERS, ShardState


def state(number: int = 0, **fields: Any) -> ShardState:  # noqa: ANN401
    return ShardState(shard=number, after="", to=None, done=True, **fields)


def plan(**request: Any) -> ReconcilePlan:  # noqa: ANN401
    return ReconcilePlan(
        run="run",
        request=Request(**request),
        started_at="2026-06-01T00:00:00+00:00",
        bucket="source",
        prefix="",
        shards=(Shard("", None),),
        expected_objects=None,
    )


def counted(**numbers: int) -> counts.Counts:
    return counts.zero() | numbers


def report(*states: ShardState, replicates_all_deletes: bool = False) -> dict[str, Any]:
    """Return the summary of a report."""
    total = counts.total(state.counts for state in states)
    outcome = conclude(plan(), total, replicates_all_deletes=replicates_all_deletes)
    return summary(
        plan(),
        states,
        outcome,
        destination="gs://replica/",
        ended_at="2026-06-01T01:00:00+00:00",
        replicates_all_deletes=replicates_all_deletes,
    )


def by_prefix(compared: int, **numbers: int) -> dict[str, int]:
    return dict.fromkeys(GROUP_NAMES, 0) | {"compared": compared} | numbers


def samples(kind: str, count: int) -> list[dict[str, Any]]:
    return [{"kind": kind, "key": f"{kind}{number}"} for number in range(count)]


def test_report_says_which_run_this_was_and_what_it_found() -> None:
    found = report(state(counts=counted(compared=9, missing=2, extra=1, difference_bytes=2**30)))

    del found["by_prefix"], found["samples"]
    cost = found.pop("cost")
    assert cost["egress_usd"] == pytest.approx(0.09)
    assert found == {
        "run": "run",
        "mode": "report",
        "from_run": None,
        "ended": "differences",
        "differences": 2,
        "replicates_all_deletes": False,
        "prefix": "",
        "source": "s3://source",
        "destination": "gs://replica/",
        "started_at": "2026-06-01T00:00:00+00:00",
        "ended_at": "2026-06-01T01:00:00+00:00",
        "counts": counted(compared=9, missing=2, extra=1, difference_bytes=2**30),
        "valve": None,
    }


def test_deletions_cost_requests_only_where_a_repair_deletes() -> None:
    extra = state(counts=counted(compared=1_000_000, extra=1_000_000))

    assert report(extra)["cost"]["requests_usd"] == 0
    assert report(extra, replicates_all_deletes=True)["cost"]["requests_usd"] > 1


def test_count_that_a_shard_of_an_earlier_release_does_not_have_is_zero() -> None:
    assert counts.total([{"compared": 2}, {"compared": 3, "extra": 1}]) == counted(
        compared=5, extra=1
    )


@pytest.mark.parametrize(
    ("compared", "most"), [(10_000, 100), (100_000_000, 100_000)], ids=["a share", "a number"]
)
def test_safety_valve_lets_a_repair_of_one_percent_and_of_100_000_objects_pass(
    compared: int, most: int
) -> None:
    ended = [
        conclude(
            plan(mode=Mode.REPAIR),
            counted(compared=compared, missing=differing),
            replicates_all_deletes=False,
        ).ended
        for differing in (most, most + 1)
    ]

    assert ended == ["nominated", "too_many_differences"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_differences": 2}, "more than 2"),
        ({"max_share": 0.25}, "more than 25.00% of 10 objects"),
    ],
)
def test_safety_valve_says_how_many_differ_and_what_to_do(
    limits: dict[str, Any], reason: str
) -> None:
    ended = conclude(
        plan(mode=Mode.REPAIR, **limits),
        counted(compared=10, missing=1, different=2),
        replicates_all_deletes=False,
    )

    assert ended.valve == (
        f"Nothing was repaired: 3 objects differ, {reason}. Look at the samples. If the source is"
        " right, start the repair again and confirm it."
    )


def test_prefixes_with_the_most_differences_come_first_and_those_of_all_shards_are_added() -> None:
    first = {"a/": by_prefix(5, missing=1, bytes=7), "b/": by_prefix(1, extra=1, different=1)}
    second = {"a/": by_prefix(4, missing=2), "c/": by_prefix(9), "d/": by_prefix(9)}
    second[OTHERS] = by_prefix(1, foreign=99, missing=99)

    assert report(state(by_prefix=first), state(1, by_prefix=second))["by_prefix"] == [
        {"prefix": "a/", **by_prefix(9, missing=3, bytes=7)},
        {"prefix": "b/", **by_prefix(1, extra=1, different=1)},
        {"prefix": "c/", **by_prefix(9)},
        {"prefix": "d/", **by_prefix(9)},
        {"prefix": OTHERS, **by_prefix(1, foreign=99, missing=99)},
    ]


@pytest.mark.parametrize(("prefixes", "left_out"), [(50, 0), (51, 2), (60, 11)])
def test_prefixes_beyond_fifty_are_added_up(prefixes: int, left_out: int) -> None:
    """Each has one difference less than the one before it."""
    groups = {f"{n:02}/": by_prefix(1, missing=prefixes - n) for n in range(prefixes)}

    found = report(state(by_prefix=groups))["by_prefix"]

    shown = [f"{number:02}/" for number in range(prefixes - left_out)]
    assert [row["prefix"] for row in found] == [*shown, *([OTHERS] if left_out else [])]
    if left_out:
        missing = left_out * (left_out + 1) // 2
        assert found[-1] == {"prefix": OTHERS, **by_prefix(left_out, missing=missing)}


def test_a_hundred_samples_have_as_many_of_each_kind_as_there_are() -> None:
    states = [
        state(samples=[*samples("foreign", 60), *samples("missing", 30)]),
        state(1, samples=[*samples("missing", 60), *samples("different", 10)]),
    ]

    found = report(*states)["samples"]

    kinds = [sample["kind"] for sample in found]
    assert kinds == ["missing"] * 45 + ["different"] * 10 + ["foreign"] * 45
    assert found[:30] == samples("missing", 30), "in the order of the keys"
