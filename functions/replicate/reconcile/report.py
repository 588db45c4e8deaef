"""The report of a run: what all shards found together, as a JSON object. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replicate.reconcile import counts
from replicate.reconcile.compare import Verdict
from replicate.reconcile.costs import repair_cost
from replicate.reconcile.counts import Counts
from replicate.reconcile.runs import Mode, ReconcilePlan
from replicate.reconcile.tally import GROUP_NAMES, OTHERS, Group, ShardState

MAX_PREFIXES = 50
MAX_SAMPLES = 100
"""Rows of the summary, for a person to read. Chosen: the page stays below a megabyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run found, and what follows from it."""

    counts: Counts
    differences: int
    ended: str
    """`equal`, `differences`, `nominated` or `too_many_differences`."""
    valve: str | None
    """Why the safety valve stopped a repair."""


def conclude(plan: ReconcilePlan, counted: Counts, *, replicates_all_deletes: bool) -> Outcome:
    """Decide how a run ends."""
    found = counts.differing(counted, replicates_all_deletes=replicates_all_deletes)
    request, valve, ended = plan.request, None, "differences"
    if not found:
        ended = "equal"
    elif request.mode is Mode.REPAIR:
        valve = None if request.confirmed else _valve(plan, found, counted["compared"])
        ended = "too_many_differences" if valve else "nominated"
    return Outcome(counts=counted, differences=found, ended=ended, valve=valve)


def _valve(plan: ReconcilePlan, found: int, compared: int) -> str | None:
    """Return why a repair needs a confirmation. A source may be emptied or the wrong one."""
    request = plan.request
    if found > request.max_differences:
        reason = f"more than {request.max_differences}"
    elif found > request.max_share * compared:
        reason = f"more than {request.max_share:.2%} of {compared} objects"
    else:
        return None
    return (
        f"Nothing was repaired: {found} objects differ, {reason}. Look at the samples. If the"
        " source is right, start the repair again and confirm it."
    )


def summary(
    plan: ReconcilePlan,
    states: Sequence[ShardState],
    outcome: Outcome,
    *,
    destination: str,
    ended_at: str,
    replicates_all_deletes: bool,
) -> dict[str, Any]:
    """Return the report as a JSON object."""
    numbers = outcome.counts
    cost = repair_cost(
        copies=numbers["missing"] + numbers["different"],
        copied_bytes=numbers["difference_bytes"],
        deletes=numbers["extra"] if replicates_all_deletes else 0,
    )
    return {
        "run": plan.run,
        "mode": str(plan.request.mode),
        "from_run": plan.request.from_run or None,
        "ended": outcome.ended,
        "differences": outcome.differences,
        "replicates_all_deletes": replicates_all_deletes,
        "prefix": plan.prefix,
        "source": f"s3://{plan.bucket}",
        "destination": destination,
        "started_at": plan.started_at,
        "ended_at": ended_at,
        "counts": numbers,
        "by_prefix": _by_prefix(states),
        "samples": _samples(states),
        "cost": cost.as_json(),
        "valve": outcome.valve,
    }


def _by_prefix(states: Sequence[ShardState]) -> list[dict[str, Any]]:
    """Return the counts of the prefixes with the most differences, and of all others together."""
    groups: dict[str, Group] = {}
    for state in states:
        for name, group in state.by_prefix.items():
            _add(groups.setdefault(name, dict.fromkeys(GROUP_NAMES, 0)), group)
    ranked = sorted(groups.items(), key=_rank)
    if len(ranked) > MAX_PREFIXES:
        rest = dict.fromkeys(GROUP_NAMES, 0)
        for _, group in ranked[MAX_PREFIXES - 1 :]:
            _add(rest, group)
        ranked = [*ranked[: MAX_PREFIXES - 1], (OTHERS, rest)]
    return [{"prefix": name, **group} for name, group in ranked]


def _rank(item: tuple[str, Group]) -> tuple[bool, int, int, str]:
    name, group = item
    found = group["missing"] + group["different"] + group["extra"]
    return name == OTHERS, -found, -group["compared"], name


def _add(group: Group, other: Mapping[str, int]) -> None:
    for name in GROUP_NAMES:
        group[name] += other[name]


def _samples(states: Sequence[ShardState]) -> list[dict[str, Any]]:
    """Return samples of every kind: the same number of each, where there are enough."""
    kinds = (Verdict.MISSING, Verdict.DIFFERENT, Verdict.EXTRA, Verdict.FOREIGN)
    found: dict[str, list[dict[str, Any]]] = {
        str(kind): [s for state in states for s in state.samples if s["kind"] == kind]
        for kind in kinds
    }
    left, chosen = MAX_SAMPLES, []
    smallest_first = sorted(found.values(), key=len)
    for number, samples in enumerate(smallest_first):
        part = samples[: left // (len(smallest_first) - number)]
        left -= len(part)
        chosen += part
    return sorted(chosen, key=lambda sample: kinds.index(sample["kind"]))
