"""The protocol of large objects in every schedule of runs, watches, executions and faults.

In a history, a letter writes a large object, a digit a small one, and `-` deletes. Changes before
`|` have been replicated. Each of the two changes after it has a run, which may start an execution.
`test_large_counterexamples` has single schedules.
"""

import os
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import product

import pytest
from fakes import FakeGcs
from model.histories import DELETE
from model.large_exploration import Faults, LargeScenario, Report, explore, wander
from model.large_runs import LargeProtocol, misreading
from model.large_variants import HOSTILE, VARIANTS
from model.promises import Promise

from replicate.protocol.evidence import Deletes
from replicate.protocol.large import LargeCopy
from replicate.protocol.plan import Policy

ONCE = {name: Faults(**{name: 1}) for name in Faults.__dataclass_fields__}
"""Each fault, once."""

SAME_SECOND = timedelta(0)


def scenario(text: str, gcs: type[FakeGcs] = FakeGcs, faults: str = "") -> LargeScenario:
    """Read a history such as `A | - A`."""
    before, _, after = text.rpartition("|")
    replicated = tuple(before.split())
    return LargeScenario(
        history=(*replicated, *after.split()),
        replicated=len(replicated),
        faults=ONCE[faults] if faults else Faults(),
        gcs=gcs,
    )


def every_promise_holds(explored: LargeScenario) -> Report:
    """Assert that no state breaks a promise. The failure is a shortest schedule to one."""
    return keeps_every_promise(explore(explored))


def keeps_every_promise(report: Report) -> Report:
    """Assert that no promise was broken."""
    assert not report.broken, "\n\n".join(
        f"BROKEN: {promise}\n{schedule}" for promise, schedule in report.broken.items()
    )
    return report


HISTORIES = (
    "A",
    "A -",
    "A 1",
    "A B",
    "1 A",
    "A | - A",
    "A | B A",
    "A | 1 A",
    "A | A' A",
    "A | - 1",
    "1 | A 1",
)


@pytest.mark.parametrize("history", HISTORIES)
def test_every_promise_holds(history: str) -> None:
    every_promise_holds(scenario(history))


@pytest.mark.parametrize("history", ["A | - A", "A | 1 A", "1 | A 1"])
def test_every_promise_holds_within_one_second(history: str) -> None:
    """The version that comes back has the same digest: its staged objects are used."""
    every_promise_holds(replace(scenario(history), tick=SAME_SECOND))


@pytest.mark.parametrize("history", ["A -", "A | - A", "1 | - A"])
def test_every_promise_holds_where_deletes_are_not_replicated(history: str) -> None:
    """No execution deletes a replica then, not even one that it wrote itself."""
    protocol = LargeProtocol(policy=Policy(deletes=Deletes.NONE))
    report = explore(replace(scenario(history), protocol=protocol))
    assert not report.broken.keys() - {Promise.EQUAL}


@pytest.mark.parametrize("faults", ONCE)
@pytest.mark.parametrize("history", ["A", "A -"])
def test_every_promise_holds_with_a_fault_at_any_time(history: str, faults: str) -> None:
    every_promise_holds(scenario(history, faults=faults))


@pytest.mark.parametrize("history", ["A", "A -", "A 1"])
def test_every_promise_holds_of_slices_that_are_staged_at_the_same_time(history: str) -> None:
    every_promise_holds(replace(scenario(history), parallel=True))


@pytest.mark.parametrize("faults", ["", "crashes", "losses", "expiries"])
@pytest.mark.parametrize("history", ["A", "1 -", "1 2", "1 | 2 1", "1 | - 1"])
def test_every_promise_holds_of_bytes_that_travel_compressed(history: str, faults: str) -> None:
    """Small objects are staged, too. A run that crashes leaves them to the lifecycle rule."""
    protocol = LargeProtocol(compressed_size=lambda _: 1)
    report = explore(replace(scenario(history, faults=faults), protocol=protocol))
    assert not report.broken.keys() - ({Promise.TIDY} if faults else set())


@pytest.mark.parametrize("faults", ["", "crashes"])
@pytest.mark.parametrize("history", ["1 2", "1 -", "A"])
def test_other_bytes_are_never_visible_when_gcs_makes_them_of_compressed_ones(
    history: str, faults: str
) -> None:
    """The run that compares them fails. One that crashes before leaves them, and nobody uses them.

    They are visible in some schedule if nobody compares.
    """
    protocol = LargeProtocol(compressed_size=lambda _: 1, ports=misreading)
    explored = replace(scenario(history, faults=faults), protocol=protocol)
    may_break = {Promise.SUCCESS} | ({Promise.TIDY} if faults else set())
    assert explore(explored).broken.keys() <= may_break
    trusting = replace(
        explored, protocol=replace(protocol, ports=partial(misreading, compares=False))
    )
    assert faults or Promise.WHOLE in explore(trusting).broken


@pytest.mark.parametrize("mode", HOSTILE)
@pytest.mark.parametrize(
    ("history", "faults"), [("A", "kills"), ("A -", "losses"), ("A 1", ""), ("1 | A 1", "")]
)
def test_every_promise_holds_in_each_hostile_mode(history: str, faults: str, mode: str) -> None:
    every_promise_holds(scenario(history, HOSTILE[mode], faults))


def test_the_worker_of_a_commit_that_outlives_its_execution_takes_back_what_it_created(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its compose may land after all messages have run: what S3 deleted would be back."""
    undead = replace(scenario("A -", faults="kills"), undead=True)
    every_promise_holds(undead)
    monkeypatch.setattr(LargeCopy, "_take_back", lambda *_: None)
    assert explore(undead).broken.keys() == {Promise.EQUAL}


@pytest.mark.parametrize("history", ["A -", "1 | A 1"])
def test_pins_are_not_needed_while_all_other_rules_hold(history: str) -> None:
    every_promise_holds(scenario(history, VARIANTS["pins in compose"].gcs))


WITHOUT = {
    "ifMetagenerationMatch at the commit": ("1 | A 1", "", Promise.FORWARD),
    "fence kept as planned": ("A 1", "", Promise.FORWARD),
    "a message waits while an execution runs": ("A", "kills", Promise.WATCHED),
    "the message holds the event, not the execution": ("A", "", Promise.WATCHED),
    "a message waits although both sides are equal": ("A -", "", Promise.WATCHED),
    "404 or 412 from the commit is no failure": ("1 A", "", Promise.SUCCESS),
}
"""For a rule: the history, the fault, and the promise that is broken without the rule."""


@pytest.mark.parametrize("rule", WITHOUT)
def test_a_promise_is_broken_without_a_rule(rule: str) -> None:
    history, faults, promise = WITHOUT[rule]
    variant = VARIANTS[rule]
    mutated = replace(
        scenario(history, variant.gcs, faults), protocol=variant.protocol, s3=variant.s3
    )
    with variant.applied():
        assert promise in explore(mutated, wanted=promise).broken


MODES: list[type[FakeGcs]] = [FakeGcs, *HOSTILE.values()]


def all_faults(history: str, gcs: type[FakeGcs] = FakeGcs) -> LargeScenario:
    """Let each fault happen once, while slices are staged at the same time."""
    faults = Faults(**dict.fromkeys(ONCE, 1))
    return replace(scenario(history, gcs), faults=faults, parallel=True)


@pytest.mark.parametrize("gcs", MODES)
def test_every_promise_holds_in_random_schedules_with_all_faults(gcs: type[FakeGcs]) -> None:
    keeps_every_promise(wander(all_faults("A B", gcs), ways=20, seed=1))


@pytest.mark.parametrize(
    "rule",
    ["ifMetagenerationMatch at the commit", "a message waits while an execution runs"],
)
def test_random_schedules_with_all_faults_break_a_promise_without_a_rule(rule: str) -> None:
    history, _, promise = WITHOUT[rule]
    variant = VARIANTS[rule]
    mutated = replace(all_faults(history, variant.gcs), protocol=variant.protocol, s3=variant.s3)
    with variant.applied():
        assert promise in wander(mutated, ways=50, seed=1).broken


EVERY_HISTORY = [
    f"{before}{first} {second}"
    for before in ("", "A | ", "1 | ")
    for first, second in product(("A", "A'", "B", "1", "1'", DELETE), repeat=2)
    if (before or first != DELETE) and (first, second) != (DELETE, DELETE)
]
exhaustive = pytest.mark.skipif(
    "MODEL_EXHAUSTIVE" not in os.environ, reason="takes 20 minutes: MODEL_EXHAUSTIVE=1"
)


@exhaustive
@pytest.mark.timeout(0)
@pytest.mark.parametrize("history", EVERY_HISTORY)
def test_every_promise_holds_whatever_goes_wrong(history: str) -> None:
    """In each mode of GCS: all schedules without a fault, or with one if no execution starts.

    With a fault, a history with an execution has a million states and more: random schedules.
    """
    is_large = any(change[0].isalpha() for change in history.rpartition("|")[2].split())
    for gcs, fault in product(MODES, [""] if is_large else ONCE):
        every_promise_holds(scenario(history, gcs, fault))


@exhaustive
@pytest.mark.timeout(0)
@pytest.mark.parametrize("history", EVERY_HISTORY)
def test_every_promise_holds_in_many_random_schedules(history: str) -> None:
    for gcs in MODES:
        keeps_every_promise(wander(all_faults(history, gcs), ways=300, seed=1))
