"""Explores every schedule of a scenario breadth first, and visits each state once.

A state is the state of the source (the number of changes so far), the state of the destination, and
for each event the responses that its run has received since it started. A run is a function of
these responses. So two schedules that lead to the same state have the same futures, and exploring
one of them is enough.

Two reductions keep the number of states finite, although runs may crash and events may be delivered
again any number of times. Only the age of a generation counts (`ages`). And a run knows no more of
its event than the evidence, so events of the same evidence are interchangeable.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import NamedTuple

from fakes import A_SECOND, FakeGcs, FakeS3, StoredObject
from model.ages import FRESH, LIVE, Change, aged, change
from model.histories import DELETE, DROP, EXPIRE, REF, History, sources
from model.promises import (
    Promise,
    Requirements,
    broken_by,
    equals_source,
    oldest_allowed,
    was_deleted_by_user,
)
from model.runs import Alternative, Call, Protocol, Stores, brief
from model.search import every_state

from replicate.errors import DestinationChangedError, ReplicationError, SourceChangedError
from replicate.protocol.evidence import HINT, REQUEST, Deletes, Evidence, user_deletion
from replicate.protocol.model import Expectation, Replica, Result

NAME = REF.key


def idle(kind: int) -> int:
    """Return the state of an event whose run has not started, or has crashed."""
    return -1 - 2 * kind


def finished(kind: int) -> int:
    """Return the state of an event whose run has returned. It may be delivered again."""
    return -2 - 2 * kind


def kind_of(run: int) -> int:
    """Return the number of an event's evidence, for an event without a run."""
    return (-run - 1) // 2


def has_finished(run: int) -> bool:
    """Return whether this is the state of an event whose run has returned."""
    return run < 0 and run == finished(kind_of(run))


MAX_CALLS = 100
"""A run that has made more calls than this does not end."""

NO_RUN = -1
"""The actor of a move that no run makes: the owner of the source, or the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What may happen: the changes of the source in this order, everything else in any order."""

    history: History
    protocol: Protocol = field(default_factory=Protocol)
    expectations: tuple[Expectation, ...] = (Expectation.UNKNOWN,)
    """Each run is started with any of these."""
    versioned: bool = False
    multipart: bool = False
    tick: timedelta = A_SECOND
    crashes: bool = True
    stragglers: bool = False
    """Whether a request that a run had sent before it crashed may take effect later."""
    duplicates: bool = True
    shortcuts: bool = True
    """Whether to skip orders that make no difference."""
    s3: type[FakeS3] = FakeS3
    gcs: type[FakeGcs] = FakeGcs
    initial: StoredObject | None = None
    """The object at the destination at the start."""
    requests: int = 0
    """Requests for a copy, by the API or a batch job. Their runs start at any time."""
    leaves_extra: bool = False
    """Whether the replica of a source that is gone may stay."""


@dataclass(slots=True)
class Report:
    """The size of the exploration, and a shortest schedule for each promise that was broken."""

    states: int = 0
    moves: int = 0
    traces: int = 0
    shown: set[tuple[int, str]] = field(default_factory=set)
    """Pairs of the number of changes of the source, and the object at the destination."""
    broken: dict[Promise, str] = field(default_factory=dict)


class State(NamedTuple):
    """Everything that the future depends on, as numbers."""

    changes: int
    shown: int
    oldest: int
    """The oldest state of the source that the destination may show from now on."""
    runs: tuple[int, ...]
    """The run of each event, which is each change so far, in ascending order."""
    late: int | None = None
    """A crashed run whose last request has not taken effect yet."""


class Step(NamedTuple):
    """The effect of one call of a run, which does not depend on the other runs."""

    text: str
    run: int
    """The next state of the run."""
    shown: int
    oldest: int
    change: Change
    broken: tuple[Promise, ...]


class Move(NamedTuple):
    """A transition to the next state."""

    state: State
    broken: tuple[Promise, ...]
    actor: int
    text: str
    runs: tuple[int, ...]
    """The runs of `state`, in the order of the state before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Replica):
    """The response to a run's own write."""

    @classmethod
    def of(cls, replica: Replica) -> "Written":
        return cls(**{each.name: getattr(replica, each.name) for each in fields(replica)})


class Trace(NamedTuple):
    """The responses that a run has received since it started, and what it does next."""

    kind: int
    expectation: int
    responses: tuple[int, ...]
    then: Call | Result | ReplicationError


class Numbering:
    """Assigns small numbers to values: equal numbers to equal values, 0 to None."""

    def __init__(self) -> None:
        self.values: list[object] = [None]
        self._numbers: dict[str, int] = {repr(None): 0}

    def number(self, value: object) -> int:
        number = self._numbers.setdefault(repr(value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Explorer:
    """Explores one scenario, and caches what it computes."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._s3 = sources(
            scenario.history,
            lambda: scenario.s3(versioned=scenario.versioned, tick=scenario.tick),
            multipart=scenario.multipart,
        )
        self._past = [s3.pin(REF) for s3 in self._s3]
        self._policy = scenario.protocol.policy
        self._requirements = Requirements.of(self._policy, leaves_extra=scenario.leaves_extra)
        self._kinds = [HINT, REQUEST]
        self._events = [self._kind(index) for index in range(len(scenario.history))]
        self._values = Numbering()
        self._traces: list[Trace] = []
        self._trace_numbers: dict[tuple[int, int, tuple[int, ...]], int] = {}
        self._source_readers: set[int] = set()
        self._steps_known: dict[tuple[int, int, int, int], list[Step]] = {}
        self._aged_known: dict[tuple[int, Change], int] = {}
        self._values_aged: dict[tuple[int, Change], int] = {}
        self._roots = [
            [self._trace(kind, each, ()) for each in range(len(scenario.expectations))]
            for kind in range(len(self._kinds))
        ]

    def _kind(self, index: int) -> int:
        """Return the number of the evidence of the event of a change.

        Where all deletions are replicated, evidence makes no difference between events.
        """
        by_user = self._scenario.history[index] in {DELETE, DROP}
        if not by_user or self._policy.deletes is not Deletes.BY_USERS:
            return self._kinds.index(HINT)
        evidence: Evidence = user_deletion(self._s3[index + 1].now)
        if evidence not in self._kinds:
            self._kinds.append(evidence)
        return self._kinds.index(evidence)

    def explore(self) -> Report:
        """Visit every state."""
        found = every_state(self)
        shown = {(state.changes, state.shown) for state in found.states}
        return Report(
            states=len(found.states),
            moves=found.moves,
            traces=len(self._traces),
            shown={(changes, repr(self._stored(number))) for changes, number in shown},
            broken=found.broken,
        )

    def first(self) -> State:
        requests = (idle(self._kinds.index(REQUEST)),) * self._scenario.requests
        return State(0, self._values.number(self._scenario.initial), 0, requests)

    def moves(self, state: State) -> Iterator[Move]:
        """Yield every possible next move."""
        changes, _, _, runs, late = state
        if changes < len(self._scenario.history):
            yield self._source_changes(state)
        elif self._scenario.shortcuts:
            for actor, run in enumerate(runs):
                if run in self._source_readers:
                    # S3 does not change any more, so the time of reading makes no difference.
                    yield from self._advance(state, actor, run)
                    return
        if late is not None:
            yield from self._arrive(state._replace(late=None), late)
        before = None
        for actor, run in enumerate(runs):
            if run != before:  # otherwise its moves are those of the run before
                yield from self._moves_of(state, actor, run)
            before = run

    def _source_changes(self, state: State) -> Move:
        text = f"the source changes: {self._scenario.history[state.changes]}"
        runs = (*state.runs, idle(self._events[state.changes]))
        later = state._replace(changes=state.changes + 1, runs=_sorted(runs))
        return Move(later, (), NO_RUN, text, runs)

    def _moves_of(self, state: State, actor: int, run: int) -> list[Move]:
        """Return every possible next move of one run."""
        if run >= 0:
            return self._advance(state, actor, run) + self._crash(state, actor, run)
        if has_finished(run) and not self._scenario.duplicates:
            return []
        roots = self._roots[kind_of(run)]
        return [move for root in roots for move in self._advance(state, actor, root)]

    def _crash(self, state: State, actor: int, run: int) -> list[Move]:
        moves = []
        again = idle(self._traces[run].kind)
        runs = (*state.runs[:actor], again, *state.runs[actor + 1 :])
        crashed = State(state.changes, state.shown, state.oldest, _sorted(runs), state.late)
        if self._scenario.crashes:
            moves.append(Move(crashed, (), actor, "crashes", runs))
        if self._scenario.stragglers and run not in self._source_readers:
            late = crashed._replace(late=run)
            moves.append(Move(late, (), actor, "crashes, its request sent", runs))
        return moves

    def _advance(self, state: State, actor: int, run: int) -> list[Move]:
        """Execute the call at which a run is suspended."""
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
        """Execute the last call of a crashed run."""
        for step in self._steps_of(state, run):
            runs, late = self._aged(state, step.change)
            later = State(state.changes, step.shown, step.oldest, _sorted(runs), late)
            yield Move(later, step.broken, NO_RUN, f"late: {step.text}", runs)

    def _aged(self, state: State, by: Change) -> tuple[tuple[int, ...], int | None]:
        """Return all runs with their generations aged by a change of the destination."""
        late = None if state.late is None else self._run_aged(state.late, by)
        return tuple(self._run_aged(run, by) for run in state.runs), late

    def _steps_of(self, state: State, run: int) -> list[Step]:
        key = (run, state.changes, state.shown, state.oldest)
        if key not in self._steps_known:
            self._steps_known[key] = list(self._steps(*key))
        return self._steps_known[key]

    def _steps(self, run: int, changes: int, shown: int, oldest: int) -> Iterator[Step]:
        """Compute the step for each alternative of the call at which a run is suspended."""
        kind, expectation, responses, call = self._traces[run]
        assert isinstance(call, Call)
        before = self._stored(shown)
        past = self._past[: changes + 1]
        for alternative in call.alternatives:
            response, after = self._execute(alternative, changes, before)
            if isinstance(response, Replica) and call.verb == "GCS write":
                response = Written.of(response)
            text = f"{call.verb} -> {brief(response)}"
            age = change(before, after)
            broken: tuple[Promise, ...] = ()
            floor = oldest
            if after is not before:
                broken = tuple(broken_by(past, before, after, self._requirements, oldest))
                if before and after is None and not self._may_delete(run, changes, before):
                    broken = (*broken, Promise.KEPT)
                floor = oldest_allowed(past, after, oldest)
            extended = (*responses, self._values.number(response))
            older = tuple(self._value_aged(number, age) for number in extended)
            then = self._trace(kind, expectation, older)
            match self._traces[then].then:
                case Result():
                    then = finished(kind)
                case ReplicationError():
                    then = idle(kind)
                    broken = (*broken, Promise.SUCCESS)
                case _ if len(extended) > MAX_CALLS:
                    then = idle(kind)
                    broken = (*broken, Promise.END)
            yield Step(
                text,
                then,
                self._value_aged(self._values.number(after), age),
                floor,
                age,
                broken,
            )

    def _may_delete(self, run: int, changes: int, before: StoredObject) -> bool:
        """Return whether a run may delete an object: a user did, or the run itself wrote it."""
        kind, _, responses, _ = self._traces[run]
        received = [self._values.values[number] for number in responses]
        if any(isinstance(each, Written) and int(each.generation) == LIVE for each in received):
            return True
        if self._kinds[kind] == REQUEST:
            return False
        by_user = [n + 1 for n in range(changes) if self._scenario.history[n] != EXPIRE]
        past = self._past[: changes + 1]
        deletions = [n for n in by_user if past[n] is None]
        return self._policy.deletes is Deletes.ALL or was_deleted_by_user(past, deletions, before)

    def _execute(
        self, alternative: Alternative, changes: int, before: StoredObject | None
    ) -> tuple[object, StoredObject | None]:
        """Execute a call on given stores; return the response and the object at the destination."""
        gcs = self._scenario.gcs()
        gcs.next_generation = FRESH
        if before:
            gcs.objects[NAME] = before
        response: object
        try:
            response = alternative(Stores(self._s3[changes], gcs))
        except (SourceChangedError, DestinationChangedError, ReplicationError) as error:
            response = error
        return response, gcs.objects.get(NAME)

    def broken_in(self, state: State) -> tuple[Promise, ...]:
        """Return the promises that are broken when all runs have finished."""
        if not all(map(has_finished, state.runs)):
            return ()
        past = self._past[: state.changes + 1]
        last = self._scenario.history[state.changes - 1] if state.changes else DELETE
        is_equal = equals_source(
            past,
            self._stored(state.shown),
            self._requirements,
            must_be_gone=last != EXPIRE or self._policy.deletes is Deletes.ALL,
        )
        return () if is_equal else (Promise.EQUAL,)

    def _trace(self, kind: int, expectation: int, responses: tuple[int, ...]) -> int:
        """Run the protocol with these responses, and cache the result."""
        key = (kind, expectation, responses)
        if key not in self._trace_numbers:
            values = [self._values.values[response] for response in responses]
            then = self._scenario.protocol.advance(
                REF, self._scenario.expectations[expectation], values, self._kinds[kind]
            )
            self._trace_numbers[key] = len(self._traces)
            self._traces.append(Trace(kind, expectation, responses, then))
            if isinstance(then, Call) and then.only_reads_source:
                self._source_readers.add(self._trace_numbers[key])
        return self._trace_numbers[key]

    def _stored(self, number: int) -> StoredObject | None:
        stored = self._values.values[number]
        assert stored is None or isinstance(stored, StoredObject)
        return stored

    def _value_aged(self, number: int, by: Change) -> int:
        key = (number, by)
        if key not in self._values_aged:
            self._values_aged[key] = self._values.number(aged(self._values.values[number], by))
        return self._values_aged[key]

    def _run_aged(self, run: int, by: Change) -> int:
        if run < 0:
            return run
        key = (run, by)
        if key not in self._aged_known:
            kind, expectation, responses, _ = self._traces[run]
            older = tuple(self._value_aged(response, by) for response in responses)
            self._aged_known[key] = self._trace(kind, expectation, older)
        return self._aged_known[key]

    def told(self, way: Sequence[Move]) -> str:
        """Return the moves, one a line, with runs and responses."""
        names: list[str] = []
        lines = []
        for move in way:
            if len(move.runs) > len(names):
                names.append(f"run {len(names) + 1}")
            if move.actor == NO_RUN:
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
