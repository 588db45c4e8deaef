"""One schedule of large objects, step by step: for the counterexamples.

Where `large_exploration` tries all schedules, this follows one that a test writes down.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from fakes import A_SECOND, FakeGcs, Pinned, StoredObject
from model import state_machine
from model.histories import REF
from model.large_runs import (
    EVENT,
    PREFIX,
    Ended,
    LargeStores,
    Machines,
    Work,
    change_source,
    step,
    watch,
)
from model.large_variants import Variant
from model.promises import Promise, Requirements, broken_by, equals_source, oldest_allowed
from model.runs import Call

from replicate.errors import (
    DestinationUnavailableError,
    LostRaceError,
    ReplicationError,
)
from replicate.protocol.model import Result
from replicate.step_errors import TransientError

NAME = REF.key


@dataclass(eq=False)
class Invocation:
    """A run or a step, suspended at a call."""

    world: "World"
    work: Work
    ended: Callable[["Invocation"], None]
    responses: list[object] = field(default_factory=list)
    is_slow: bool = False
    """Nobody knows yet that it has ended."""

    def __post_init__(self) -> None:
        self.now: Call | Ended = self._advanced()

    def until(self, verb: str, name: str = "") -> "Invocation":
        """Go on until the next call is this one, or to the end."""
        while isinstance(self.now, Call) and not (
            self.now.verb == verb and name in (self.now.changes or self.now.text)
        ):
            self.one()
        return self

    def after(self, verb: str, name: str = "") -> "Invocation":
        """Go on until this call has been made, or to the end."""
        self.until(verb, name)
        self.one()
        return self

    def finish(self) -> Ended:
        """Go on to the end."""
        self.until("")
        assert not isinstance(self.now, Call)
        return self.now

    def one(self) -> None:
        """Make one call."""
        if isinstance(self.now, Call):
            self._respond(self.world.carry_out(self.now))

    def lose(self) -> None:
        """Make one call, whose response is lost."""
        assert isinstance(self.now, Call)
        self.world.carry_out(self.now)
        self._respond(DestinationUnavailableError("The response was lost."))

    def _respond(self, response: object) -> None:
        self.responses.append(response)
        self.now = self._advanced()
        if not isinstance(self.now, Call) and not self.is_slow:
            self.ended(self)

    def report(self) -> None:
        """Tell at last that it has ended."""
        self.finish()
        self.ended(self)

    def _advanced(self) -> Call | Ended:
        with self.world.variant.applied():
            return self.world.variant.protocol.advance(self.work, self.responses)


@dataclass(eq=False)
class Execution:
    """An execution of the state machine."""

    world: "World"
    at: state_machine.Position = field(default_factory=lambda: state_machine.begin(REF))
    is_stopped: bool = False

    @property
    def is_running(self) -> bool:
        return not self.is_stopped and not self.at.has_ended

    def invoke(self) -> list[Invocation]:
        """Invoke the function for the tasks of the state. The last one that ends leaves it."""
        left = [step(payload) for payload in state_machine.payloads(self.at)]
        waiting = len(left)

        def end(task: Invocation) -> None:
            nonlocal waiting
            waiting -= 1
            if self.is_stopped:
                return
            if isinstance(task.now, dict):
                if not waiting:
                    self.at = state_machine.succeeded(self.at, [task.now])
            elif not isinstance(task.now, TransientError):  # else it is invoked again
                self.at = state_machine.failed(self.at, type(task.now).__name__, "")

        return [Invocation(self.world, work, end) for work in left]

    def task(self) -> Invocation:
        """Invoke the function for the only task of the state."""
        (only,) = self.invoke()
        return only

    def until(self, state: str) -> "Execution":
        """Go on until it enters a state, or to the end."""
        while self.is_running and self.at.state != state:
            for task in self.invoke():
                task.finish()
        return self

    def finish(self) -> None:
        """Go on to the end."""
        self.until("")

    def stop(self) -> None:
        """Stop it. What its workers do is up to them."""
        self.is_stopped = True


class World:
    """Both stores, the executions, and the messages that are not acknowledged."""

    def __init__(self, variant: Variant, *history: str, tick: timedelta = A_SECOND) -> None:
        self.variant = variant
        self.s3 = variant.s3(tick=tick)
        self.gcs: FakeGcs = variant.gcs()
        self.requirements = Requirements.of(variant.protocol.policy)
        self.executions: dict[str, Execution] = {}
        self.messages: list[Work] = []
        self.past: list[Pinned | None] = [None]
        self.oldest = 0
        self.broken: list[Promise] = []
        for change in history:
            self.change(change)
            self.settle()

    def change(self, change: str) -> None:
        """Change the source. Its event waits."""
        change_source(self.s3, change)
        self.past.append(self.s3.pin(REF))
        self.messages.append(EVENT)

    def run(self, *, watching: bool = False) -> Invocation:
        """Start the run of the newest event, or of a message that watches an execution."""
        work = next(each for each in self.messages[::-1] if bool(each.text) == watching)
        self.messages.remove(work)

        def end(run: Invocation) -> None:
            for call in run_calls(run):
                if call.verb == "watch":
                    self.messages.append(watch(call.text))
            if not isinstance(run.now, Result):
                self.messages.append(work)

        return Invocation(self, work, end)

    def execution(self) -> Execution:
        """Return the execution that was started last."""
        return [*self.executions.values()][-1]

    def settle(self) -> None:
        """Let all executions and messages come to their ends."""
        for _ in range(20):
            for execution in self.executions.values():
                execution.finish()
            if not self.messages:
                return
            messages, self.messages = self.messages, []
            for work in messages:
                self.messages.append(work)
                self.run(watching=bool(work.text)).finish()
        raise AssertionError("The messages are not acknowledged.")

    def carry_out(self, call: Call) -> object:
        """Make a call, and judge it."""
        before = self.gcs.objects.get(NAME)
        machines = Machines(
            {
                name: state_machine.described(each.at, is_running=each.is_running)
                for name, each in self.executions.items()
            }
        )
        response: object
        try:
            response = call.alternatives[0](LargeStores(self.s3, self.gcs, machines))
        except (LostRaceError, ReplicationError) as error:
            response = error
        for name in machines.starts:
            self.executions.setdefault(name, Execution(self))
        after = self.gcs.objects.get(NAME)
        if after is not before:
            self.broken += broken_by(self.past, before, after, self.requirements, self.oldest)
            self.oldest = oldest_allowed(self.past, after, self.oldest)
        return response

    @property
    def shown(self) -> StoredObject | None:
        return self.gcs.objects.get(NAME)

    @property
    def staged(self) -> list[str]:
        return [name for name in self.gcs.objects if name.startswith(PREFIX)]

    def judge(self) -> set[Promise]:
        """Return the promises that were broken, once all has come to its end."""
        self.settle()
        if not equals_source(self.past, self.shown, self.requirements):
            self.broken.append(Promise.EQUAL)
        return set(self.broken)


def run_calls(run: Invocation) -> list[Call]:
    """Return the calls that a run has made."""
    protocol = run.world.variant.protocol
    with run.world.variant.applied():
        calls = [protocol.advance(run.work, run.responses[:n]) for n in range(len(run.responses))]
    return [call for call in calls if isinstance(call, Call)]
