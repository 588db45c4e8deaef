"""The shortest ways to lose or mix large objects, each as the schedule that leads there.

The product keeps every promise in each of them. Without the rule that a schedule is about, one is
broken: that is what the rule is for. `-` deletes the source, a letter puts a large object.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

import pytest
from fakes import A_SECOND
from model.histories import DELETE
from model.large_runs import EVENT
from model.large_variants import HOSTILE, VARIANTS, NeverDeletes, Variant
from model.large_world import NAME, World
from model.promises import Promise

from replicate.protocol.assembly import ATTEMPTS

SAME_SECOND = timedelta(0)

Schedule = Callable[[World], object]


def hand_over(world: World, change: str = "A") -> None:
    """Put a large object, whose event's run starts an execution."""
    world.change(change)
    world.run().finish()


def deleted_after_it_came_back(world: World) -> None:
    """m2: a run has read that the source is absent; it returns, and another run says so."""
    world.change(DELETE)
    late = world.run().after("S3 HEAD")
    world.change("A")
    world.run().finish()
    late.finish()


def composed_over_a_small_one(world: World) -> None:
    """m2': the source becomes small when the commit has read it, and a run writes it."""
    hand_over(world)
    commit = world.execution().until("Commit").task().after("S3 HEAD")
    world.change("1")
    world.run().finish()
    commit.finish()


def composed_over_a_patched_one(world: World) -> None:
    """m7: the source becomes again what the destination shows, and a run patches that."""
    hand_over(world)
    commit = world.execution().until("Commit").task().until("GCS compose", NAME)
    world.change("1")
    world.run().finish()
    commit.finish()


def slices_of_two_versions(world: World) -> None:
    """m3: slice 0 is staged, the execution is stopped, the source is overwritten."""
    hand_over(world)
    execution = world.execution().until("StageSlices")
    execution.invoke()[0].finish()
    execution.stop()
    hand_over(world, "B")


def bytes_of_another_version(world: World) -> None:
    """m6: both workers read B, and the source is A again, all within a second."""
    hand_over(world)
    workers = world.execution().until("StageSlices").invoke()
    for worker in workers:
        worker.until("S3 GET")
    world.change("B")
    for worker in workers:
        worker.finish()
    world.change("A")


def committed_after_the_delete(world: World) -> None:
    """m5: the delete's run sees both sides absent right before the commit."""
    hand_over(world)
    commit = world.execution().until("Commit").task().until("GCS compose", NAME)
    world.change(DELETE)
    world.run().finish()
    commit.finish()


def back_while_the_execution_ends(world: World) -> None:
    """*running = done*: it has seen both sides absent; now the same version is back."""
    _back_within_a_second(world, has_ended=False)


def back_after_the_execution_has_ended(world: World) -> None:
    """*succeeded = done*: it has seen both sides absent and ended."""
    _back_within_a_second(world, has_ended=True)


def _back_within_a_second(world: World, *, has_ended: bool) -> None:
    world.change("A")
    slow = world.run().until("start")
    world.change(DELETE)
    world.run().finish()
    slow.finish()
    plan = world.execution().task()
    plan.is_slow = not has_ended
    plan.finish()
    world.change("A")
    world.run().finish()
    world.run(watching=True).finish()
    if not has_ended:
        plan.report()


def lost_to_somebody_else(world: World) -> None:
    """*404/412 = done*: an object of somebody else appears right before the commit."""
    hand_over(world)
    commit = world.execution().until("Commit").task().until("GCS compose", NAME)
    world.gcs.put(NAME, b"theirs")
    commit.finish()


def stopped_with_one_event(world: World) -> None:
    """*Catch*: nothing runs that could send the event anywhere."""
    hand_over(world)
    world.execution().until("StageSlices").stop()


def acknowledged_when_equal(world: World) -> None:
    """Both messages run while both sides are absent; the commit's worker dies before it looks."""
    hand_over(world)
    commit = world.execution().until("Commit").task().until("GCS compose", NAME)
    world.change(DELETE)
    world.run().finish()
    world.run(watching=True).finish()
    commit.one()
    world.execution().stop()


def lost_to_a_late_run(world: World) -> None:
    """*404/412 = done*: the run of an older event writes the small object that was there before."""
    world.change("1")
    late = world.run().until("GCS write")
    hand_over(world)
    commit = world.execution().until("Commit").task().until("GCS compose", NAME)
    late.one()
    commit.finish()
    late.finish()


class Case(NamedTuple):
    """A schedule, the rule that it needs, and the promise that is broken without the rule."""

    schedule: Schedule
    rule: str
    broken: set[Promise]
    history: tuple[str, ...] = ()
    """What is replicated before."""
    tick: timedelta = A_SECOND

    def judged(self, variant: Variant) -> set[Promise]:
        """Follow the schedule to its end, and return the promises that were broken."""
        world = World(variant, *self.history, tick=self.tick)
        self.schedule(world)
        return world.judge()


FORWARD, EQUAL, WHOLE = {Promise.FORWARD}, {Promise.EQUAL}, {Promise.WHOLE}

CASES: Mapping[str, Case] = {
    "m2": Case(
        deleted_after_it_came_back, "destination read before source", FORWARD, history=("A",)
    ),
    "m2'": Case(composed_over_a_small_one, "fence kept as planned", FORWARD),
    "m7": Case(
        composed_over_a_patched_one,
        "ifMetagenerationMatch at the commit",
        FORWARD,
        history=("1",),
    ),
    "m3": Case(slices_of_two_versions, "version digest in staged names", WHOLE | EQUAL),
    "m6": Case(
        bytes_of_another_version, "If-Match on a worker's GET", WHOLE | EQUAL, tick=SAME_SECOND
    ),
    "m5": Case(
        committed_after_the_delete, "verify after the commit, nor a run of the watch", EQUAL
    ),
    "running is done": Case(
        back_while_the_execution_ends,
        "a message waits while an execution runs",
        EQUAL,
        tick=SAME_SECOND,
    ),
    "succeeded is done": Case(
        back_after_the_execution_has_ended,
        "an execution that has ended proves nothing",
        EQUAL,
        tick=SAME_SECOND,
    ),
    "404 or 412 is done": Case(
        lost_to_somebody_else,
        "404 or 412 from the commit is no end, nor a run of the watch",
        EQUAL,
    ),
    "Catch": Case(stopped_with_one_event, "the message holds the event, not the execution", EQUAL),
    "acknowledge when equal": Case(
        acknowledged_when_equal, "a message waits although both sides are equal", EQUAL
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_product_survives_each_counterexample(name: str) -> None:
    assert CASES[name].judged(Variant()) == set()


@pytest.mark.parametrize("mode", HOSTILE)
@pytest.mark.parametrize("name", CASES)
def test_the_product_survives_each_counterexample_in_a_hostile_mode(name: str, mode: str) -> None:
    assert CASES[name].judged(Variant(gcs=HOSTILE[mode])) == set()


@pytest.mark.parametrize("name", CASES)
def test_each_counterexample_breaks_a_promise_without_its_rule(name: str) -> None:
    case = CASES[name]
    assert case.judged(VARIANTS[case.rule]) == case.broken


REPAIRED: Mapping[str, Case] = {
    "verify": Case(committed_after_the_delete, "verify after the commit", set()),
    "404 or 412": Case(lost_to_somebody_else, "404 or 412 from the commit is no end", set()),
    "404 or 412, after a late run": Case(
        lost_to_a_late_run,
        "404 or 412 from the commit is no end, nor a run of the watch",
        set(),
    ),
    "pins": Case(slices_of_two_versions, "pins in compose", set()),
    "404 or 412 is a failure": Case(
        lost_to_somebody_else, "404 or 412 from the commit is no failure", set()
    ),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_another_rule_makes_up_for_one_that_is_missing(name: str) -> None:
    """The run of the watch, or of the older event; without pins, the names of staged objects."""
    case = REPAIRED[name]
    assert case.judged(VARIANTS[case.rule]) == case.broken


def sent_too_late(world: World) -> None:
    """A run is given up with its write under way; both events run again before it lands."""
    world.change("1")
    late = world.run().until("GCS write")
    world.messages.append(EVENT)
    world.change(DELETE)
    world.run().finish()
    world.run().finish()
    late.one()
    late.responses.clear()


def composed_too_late(world: World) -> None:
    """An execution is stopped with its commit under way; all messages run before it lands."""
    hand_over(world)
    commit = world.execution().until("Commit").task().until("GCS compose", NAME)
    world.execution().stop()
    world.change(DELETE)
    world.settle()
    commit.one()


@pytest.mark.parametrize("schedule", [sent_too_late, composed_too_late])
def test_a_write_must_not_land_after_its_event_has_run_again(schedule: Schedule) -> None:
    """*Late write*: the one thing the protocol takes for granted (see GUARANTEES.md)."""
    assert Case(schedule, "", EQUAL).judged(Variant()) == EQUAL


def test_a_late_compose_fails_by_its_pins_when_its_sources_were_swept() -> None:
    world = World(Variant())
    hand_over(world)
    commit = world.execution().until("Commit").task().until("GCS compose", NAME)
    world.execution().stop()
    world.run(watching=True).finish()
    world.settle()
    world.change(DELETE)
    world.settle()
    commit.one()
    assert world.judge() == set()
    assert world.staged == []


def test_a_worker_that_loses_every_race_leaves_its_slice_to_the_next_round() -> None:
    """The lifecycle rule deletes the part each time, right before it becomes a slice."""
    world = World(Variant())
    hand_over(world)
    execution = world.execution().until("StageSlices")
    worker, other = execution.invoke()
    other.finish()
    for _ in range(ATTEMPTS):
        worker.until("GCS compose")
        world.gcs.objects = {
            name: each for name, each in world.gcs.objects.items() if "part-" not in name
        }
        worker.one()
    assert worker.finish() == {"staged": False}
    assert world.judge() == set()
    assert world.staged == []
    assert execution.at.state == "Done"


def test_what_was_staged_is_swept_when_the_source_is_deleted_while_the_plan_finds_it_equal() -> (
    None
):
    """GCS kept the slices, and the response of the commit was lost."""
    world = World(Variant(gcs=NeverDeletes))
    hand_over(world)
    execution = world.execution().until("Commit")
    execution.task().until("GCS compose", NAME).lose()
    execution.task().finish()
    plan = execution.task().after("S3 HEAD")
    world.change(DELETE)
    world.run().finish()
    plan.finish()
    assert world.judge() == set()
    assert world.staged == []
