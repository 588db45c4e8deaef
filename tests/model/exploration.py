"""Every schedule of a scenario: breadth first, each state once.

A state is what the source holds (how many changes have happened), what the destination holds, and
for each event all that its run has been answered since it started. A run is a function of these
answers, so two schedules that meet in a state have the same futures, and one of them is enough.

Two things keep the states finite, however often runs crash and events are delivered again. Of a
generation only its age counts (`ages`). And a run does not know which event it was started for: so
events are not told apart.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from fakes import A_SECOND, FakeGcs, FakeS3, StoredObject
from model.ages import FRESH, Change, aged, change
from model.histories import REF, History, sources
from model.promises import Promise, Terms, broken_by, oldest_allowed, settled
from model.runs import Call, Protocol, Stores, Way, brief

from replicate.errors import DestinationChangedError, ReplicationError, SourceChangedError
from replicate.protocol.model import Result
from replicate.protocol.replicator import Expectation

NAME = REF.key

IDLE = -1
"""Of an event: its run is to be started, for the first time or again after a crash."""

FINISHED = -2
"""Of an event: its run has returned. It may be delivered again all the same."""

ENOUGH = 100
"""Calls. A run that has made more than these does not end."""

NOBODY = -1
"""Instead of a run: the source's owner, or the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What may happen: at the source in this order, everywhere else in any."""

    history: History
    protocol: Protocol = field(default_factory=Protocol)
    hints: tuple[Expectation, ...] = (Expectation.UNKNOWN,)
    """Each run is started with any of these."""
    versioned: bool = False
    multipart: bool = False
    tick: timedelta = A_SECOND
    crashes: bool = True
    stragglers: bool = False
    """What a run had sent when it crashed may take effect at any time after."""
    duplicates: bool = True
    shortcuts: bool = True
    """Leave out what makes no difference."""
    s3: type[FakeS3] = FakeS3
    gcs: type[FakeGcs] = FakeGcs
    found: StoredObject | None = None
    """What is at the destination before all starts."""


@dataclass(slots=True)
class Report:
    """What there was, and for each promise that was broken a shortest way to break it."""

    states: int = 0
    moves: int = 0
    traces: int = 0
    shown: set[tuple[int, str]] = field(default_factory=set)
    """What the destination held, after how many changes of the source."""
    broken: dict[Promise, str] = field(default_factory=dict)


class State(NamedTuple):
    """All that the future depends on, in numbers."""

    changes: int
    shown: int
    oldest: int
    """What is older than this state of the source must not be shown again."""
    runs: tuple[int, ...]
    """One for each event, that is for each change that has happened; in ascending order."""
    late: int | None = None
    """A crashed run, what it had sent still being under way."""


class Step(NamedTuple):
    """What one call of a run makes of a state, whatever the other runs are at."""

    text: str
    run: int
    """Where it takes the run."""
    shown: int
    oldest: int
    change: Change
    broken: tuple[Promise, ...]


class Move(NamedTuple):
    """From one state to the next."""

    state: State
    broken: tuple[Promise, ...]
    actor: int
    text: str
    runs: tuple[int, ...]
    """Those of `state` in the order of those of the state before."""


class Trace(NamedTuple):
    """What a run was answered since it was started, and where that takes it."""

    hint: int
    answers: tuple[int, ...]
    then: Call | Result | ReplicationError


class Numbering:
    """Small numbers for values: equal ones for equal values, 0 for None."""

    def __init__(self) -> None:
        self.values: list[object] = [None]
        self._numbers: dict[str, int] = {repr(None): 0}

    def number(self, value: object) -> int:
        number = self._numbers.setdefault(repr(value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Explorer:
    """One scenario, and all that was ever worked out about it."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._s3 = sources(
            scenario.history,
            lambda: scenario.s3(versioned=scenario.versioned, tick=scenario.tick),
            multipart=scenario.multipart,
        )
        self._past = [s3.pin(REF) for s3 in self._s3]
        self._terms = Terms.of(scenario.protocol.policy)
        self._values = Numbering()
        self._traces: list[Trace] = []
        self._trace_numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        self._source_readers: set[int] = set()
        self._steps_known: dict[tuple[int, int, int, int], list[Step]] = {}
        self._aged_known: dict[tuple[int, Change], int] = {}
        self._roots = [self._trace(hint, ()) for hint in range(len(scenario.hints))]

    def explore(self) -> Report:
        """Visit every state."""
        report = Report()
        first = State(0, self._values.number(self._scenario.found), 0, ())
        came_from: dict[State, State | None] = {first: None}
        queue = deque([first])
        while queue:
            state = queue.popleft()
            for move in self._moves(state):
                report.moves += 1
                broken = move.broken
                if move.state not in came_from:
                    came_from[move.state] = state
                    queue.append(move.state)
                    broken += self._broken_at_rest(move.state)
                for promise in broken:
                    if promise not in report.broken:
                        report.broken[promise] = self._tell(came_from, state, move)
        report.states = len(came_from)
        report.traces = len(self._traces)
        shown = {(state.changes, state.shown) for state in came_from}
        report.shown = {(changes, repr(self._stored(number))) for changes, number in shown}
        return report

    def _moves(self, state: State) -> Iterator[Move]:
        """All that can happen next."""
        changes, _, _, runs, late = state
        if changes < len(self._scenario.history):
            yield self._source_changes(state)
        elif self._scenario.shortcuts:
            for actor, run in enumerate(runs):
                if run in self._source_readers:
                    # S3 changes no more: it makes no difference when it is read.
                    yield from self._advance(state, actor, run)
                    return
        if late is not None:
            yield from self._arrive(state._replace(late=None), late)
        before = None
        for actor, run in enumerate(runs):
            if run != before:  # else it can do what the one before can
                yield from self._moves_of(state, actor, run)
            before = run

    def _source_changes(self, state: State) -> Move:
        text = f"the source changes: {self._scenario.history[state.changes]}"
        runs = (*state.runs, IDLE)
        later = state._replace(changes=state.changes + 1, runs=_sorted(runs))
        return Move(later, (), NOBODY, text, runs)

    def _moves_of(self, state: State, actor: int, run: int) -> list[Move]:
        """All that one run can do next."""
        if run >= 0:
            return self._advance(state, actor, run) + self._crash(state, actor, run)
        if run == IDLE or self._scenario.duplicates:
            return [move for root in self._roots for move in self._advance(state, actor, root)]
        return []

    def _crash(self, state: State, actor: int, run: int) -> list[Move]:
        moves = []
        runs = (*state.runs[:actor], IDLE, *state.runs[actor + 1 :])
        idle = State(state.changes, state.shown, state.oldest, _sorted(runs), state.late)
        if self._scenario.crashes:
            moves.append(Move(idle, (), actor, "crashes", runs))
        if self._scenario.stragglers and run not in self._source_readers:
            late = idle._replace(late=run)
            moves.append(Move(late, (), actor, "crashes, its request sent", runs))
        return moves

    def _advance(self, state: State, actor: int, run: int) -> list[Move]:
        """Carry out the call that a run is suspended at."""
        moves = []
        for step in self._steps_of(state, run):
            runs, late = state.runs, state.late
            if step.change is not Change.NONE:
                runs, late = self._aged(state, step.change)
            runs = (*runs[:actor], step.run, *runs[actor + 1 :])
            later = State(state.changes, step.shown, step.oldest, _sorted(runs), late)
            moves.append(Move(later, step.broken, actor, step.text, runs))
        return moves

    def _arrive(self, state: State, run: int) -> Iterator[Move]:
        """Carry out the call of a run that is no more."""
        for step in self._steps_of(state, run):
            runs, late = self._aged(state, step.change)
            later = State(state.changes, step.shown, step.oldest, _sorted(runs), late)
            yield Move(later, step.broken, NOBODY, f"late: {step.text}", runs)

    def _aged(self, state: State, by: Change) -> tuple[tuple[int, ...], int | None]:
        """All runs, after one of them changed the destination."""
        late = None if state.late is None else self._run_aged(state.late, by)
        return tuple(self._run_aged(run, by) for run in state.runs), late

    def _steps_of(self, state: State, run: int) -> list[Step]:
        key = (run, state.changes, state.shown, state.oldest)
        if key not in self._steps_known:
            self._steps_known[key] = list(self._steps(*key))
        return self._steps_known[key]

    def _steps(self, run: int, changes: int, shown: int, oldest: int) -> Iterator[Step]:
        """Work out each way the call may go that a run is suspended at."""
        hint, answers, call = self._traces[run]
        assert isinstance(call, Call)
        before = self._stored(shown)
        past = self._past[: changes + 1]
        for way in call.ways:
            answer, after = self._go(way, changes, before)
            text = f"{call.verb} -> {brief(answer)}"
            age = change(before, after)
            broken: tuple[Promise, ...] = ()
            floor = oldest
            if after is not before:
                broken = tuple(broken_by(past, before, after, self._terms, oldest))
                floor = oldest_allowed(past, after, oldest)
            heard = (*answers, self._values.number(answer))
            then = self._trace(hint, tuple(self._value_aged(number, age) for number in heard))
            match self._traces[then].then:
                case Result():
                    then = FINISHED
                case ReplicationError():
                    then = IDLE
                    broken = (*broken, Promise.SUCCESS)
                case _ if len(heard) > ENOUGH:
                    then = IDLE
                    broken = (*broken, Promise.END)
            yield Step(
                text,
                then,
                self._value_aged(self._values.number(after), age),
                floor,
                age,
                broken,
            )

    def _go(
        self, way: Way, changes: int, before: StoredObject | None
    ) -> tuple[object, StoredObject | None]:
        """Carry out a call on stores as they were: the answer, and what the destination holds."""
        gcs = self._scenario.gcs()
        gcs.next_generation = FRESH
        if before:
            gcs.objects[NAME] = before
        answer: object
        try:
            answer = way(Stores(self._s3[changes], gcs))
        except (SourceChangedError, DestinationChangedError, ReplicationError) as error:
            answer = error
        return answer, gcs.objects.get(NAME)

    def _broken_at_rest(self, state: State) -> tuple[Promise, ...]:
        """Judge a state from which nothing needs to happen any more."""
        if any(run != FINISHED for run in state.runs):
            return ()
        past = self._past[: state.changes + 1]
        return () if settled(past, self._stored(state.shown), self._terms) else (Promise.EQUAL,)

    def _trace(self, hint: int, answers: tuple[int, ...]) -> int:
        """Run the protocol with these answers, once."""
        key = (hint, answers)
        if key not in self._trace_numbers:
            values = [self._values.values[answer] for answer in answers]
            then = self._scenario.protocol.advance(REF, self._scenario.hints[hint], values)
            self._trace_numbers[key] = len(self._traces)
            self._traces.append(Trace(hint, answers, then))
            if isinstance(then, Call) and then.only_reads_source:
                self._source_readers.add(self._trace_numbers[key])
        return self._trace_numbers[key]

    def _stored(self, number: int) -> StoredObject | None:
        stored = self._values.values[number]
        assert stored is None or isinstance(stored, StoredObject)
        return stored

    def _value_aged(self, number: int, by: Change) -> int:
        return self._values.number(aged(self._values.values[number], by))

    def _run_aged(self, run: int, by: Change) -> int:
        if run < 0:
            return run
        key = (run, by)
        if key not in self._aged_known:
            hint, answers, _ = self._traces[run]
            older = tuple(self._value_aged(answer, by) for answer in answers)
            self._aged_known[key] = self._trace(hint, older)
        return self._aged_known[key]

    def _tell(self, came_from: dict[State, State | None], state: State, last: Move) -> str:
        """The moves to a state, and one more: who did what and was answered what."""
        way = [last]
        while (earlier := came_from[state]) is not None:
            way.append(next(move for move in self._moves(earlier) if move.state == state))
            state = earlier
        names: list[str] = []
        lines = []
        for move in reversed(way):
            if len(move.runs) > len(names):
                names.append(f"run {len(names) + 1}")
            if move.actor == NOBODY:
                lines.append(move.text)
            else:
                lines.append(f"{names[move.actor]}: {move.text}")
            order = sorted(range(len(names)), key=move.runs.__getitem__)
            names = [names[index] for index in order]
        return "\n".join(lines)


def _sorted(runs: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(runs))


def explore(scenario: Scenario) -> Report:
    """Visit every state of a scenario."""
    return Explorer(scenario).explore()
