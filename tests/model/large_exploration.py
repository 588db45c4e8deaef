"""Every schedule of large objects: runs, executions, their steps, and what goes wrong with them.

As in `exploration`, a run or step is the responses that it has had since it started, and two
schedules that meet in a state have the same futures. Here the destination is many objects, and
runs share the executions. A generation is free again when nothing knows of it any more, so that
states with the same futures are the same states.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

from fakes import A_SECOND, FakeGcs, FakeS3, StoredObject, in_order
from model import search, state_machine
from model.exploration import MAX_CALLS, Numbering
from model.histories import REF, History
from model.large_runs import (
    EVENT,
    PREFIX,
    SIZES,
    Ended,
    LargeProtocol,
    LargeStores,
    Machines,
    Work,
    sources,
    step,
    watch,
)
from model.promises import Promise, Requirements, broken_by, equals_source, oldest_allowed
from model.runs import NAMING, Alternative, Call, UnlimitedClock, brief
from model.search import Found, every_state, random_ways
from model.state_machine import Position

from replicate.errors import (
    DestinationUnavailableError,
    LostRaceError,
    ReplicationError,
    UnavailableError,
)
from replicate.protocol import large
from replicate.protocol.assembly import Assembler
from replicate.protocol.model import Replica, Result
from replicate.protocol.parts import version_digest
from replicate.protocol.ports import ExecutionState
from replicate.protocol.replicator import Replicator
from replicate.step_errors import TransientError

NAME = REF.key

DONE = -1
"""Instead of a trace: the task of this slice has returned."""

STOPPED = Position("Stopped", "")
"""Where an execution is after StopExecution."""

LOST = DestinationUnavailableError("The response was lost.")

RARELY = 0.04
"""How often a fault or a change of the source is the next move of a random schedule.

An execution has about fifty moves.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often each may happen, at any time."""

    kills: int = 0
    """StopExecution. The worker of a slice may go on as a zombie; other steps are dead."""
    crashes: int = 0
    """Of a run or of a step, which is then invoked again."""
    losses: int = 0
    """A request takes effect, and its caller gets an error."""
    duplicates: int = 0
    """An event is delivered once more."""
    expiries: int = 0
    """The lifecycle rule deletes all staged objects."""


class Left(NamedTuple):
    """How many faults may still happen."""

    kills: int
    crashes: int
    losses: int
    duplicates: int
    expiries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeScenario:
    """What may happen: at the source in this order, everywhere else in any."""

    history: History
    replicated: int = 0
    """The first changes, whose last one the destination shows at the beginning."""
    faults: Faults = field(default_factory=Faults)
    protocol: LargeProtocol = field(default_factory=LargeProtocol)
    tick: timedelta = A_SECOND
    parallel: bool = False
    """Slices are staged at the same time. Otherwise one after the other: they differ in nothing."""
    zombies: bool = True
    """A slice's worker may outlive its execution."""
    undead: bool = False
    """So may the worker of any step: the one thing that the protocol takes for granted."""
    s3: type[FakeS3] = FakeS3
    gcs: type[FakeGcs] = FakeGcs


@dataclass(slots=True)
class Report:
    """What there was, and for each promise that was broken a shortest way to break it."""

    states: int = 0
    moves: int = 0
    traces: int = 0
    broken: dict[Promise, str] = field(default_factory=dict)


class Machine(NamedTuple):
    """An execution: where it is, and the traces of the tasks of its state."""

    name: str
    at: Position
    tasks: tuple[int, ...] = ()

    @property
    def is_running(self) -> bool:
        return self.at is not STOPPED and not self.at.has_ended


class State(NamedTuple):
    """All that the future depends on, in numbers."""

    changes: int
    stored: int
    oldest: int
    """What is older than this state of the source must not be shown again."""
    runs: tuple[int, ...]
    """The runs of messages that are not acknowledged, in ascending order. One that has no response
    yet is a message that waits."""
    machines: tuple[int, ...]
    zombies: tuple[int, ...]
    left: Left


class Stored(NamedTuple):
    """All of the destination: objects by name, and sources of composes that are still to go."""

    objects: tuple[tuple[str, int], ...]
    doomed: tuple[int, ...] = ()


class Move(NamedTuple):
    """From one state to the next."""

    state: State
    text: str
    broken: tuple[Promise, ...] = ()


class Effect(NamedTuple):
    """What one call makes of the stores and of its caller."""

    text: str
    then: int
    """The trace of the caller."""
    stored: int
    oldest: int
    starts: tuple[str, ...]
    broken: tuple[Promise, ...]


class Trace(NamedTuple):
    """The responses that an invocation has had since it started, and what it does next."""

    work: Work
    responses: tuple[int, ...]
    then: Call | Ended
    remembers: frozenset[tuple[str, int]]
    """The generations that it may name later."""
    is_fresh: bool
    """It has just been started, or has just changed something. Only then it makes a difference
    that it crashes: later it has read, which nobody noticed."""
    sent: tuple[str, ...] = ()
    """The executions that its watches name. They are delivered when it has ended: their delay is
    longer than a run."""


class LargeExplorer:
    """One scenario, and all that was ever worked out about it."""

    def __init__(self, scenario: LargeScenario) -> None:
        self._scenario = scenario
        self._s3 = sources(scenario.history, scenario.s3, scenario.tick)
        self._past = [s3.pin(REF) for s3 in self._s3]
        self._requirements = Requirements.of(scenario.protocol.policy)
        self._values = Numbering()
        self._stored: list[Stored] = []
        self._stored_numbers: dict[Stored, int] = {}
        self._machines: list[Machine] = []
        self._machine_numbers: dict[Machine, int] = {}
        self._traces: list[Trace] = []
        self._trace_numbers: dict[tuple[Work, tuple[int, ...]], int] = {}
        self._source_readers: set[int] = set()
        self._effects_known: dict[tuple[object, ...], list[Effect]] = {}
        self._names: dict[str, frozenset[tuple[str, int]]] = {}
        """The generations that are in the names of executions."""
        self._folders: dict[str, str | None] = {}
        last = self._past[-1]
        self._folder = _folder_of_version(version_digest(last.object)) if last else None
        """Where the parts of the last version are staged."""
        self._event = self._trace(EVENT, ())

    def explore(self, wanted: Promise | None = None) -> Report:
        """Visit every state, or all until a promise is broken."""
        return self._report(every_state(self, wanted))

    def wander(self, ways: int, seed: int) -> Report:
        """Follow random schedules to their ends."""
        return self._report(
            random_ways(self, ways=ways, seed=seed, is_rare=_is_rare, rarely=RARELY)
        )

    def _report(self, found: Found[State]) -> Report:
        return Report(
            states=len(found.states),
            moves=found.moves,
            traces=len(self._traces),
            broken=found.broken,
        )

    def told(self, way: Sequence[Move]) -> str:
        return "\n".join(move.text for move in way)

    def first(self) -> State:
        scenario, faults = self._scenario, self._scenario.faults
        left = Left(faults.kills, faults.crashes, faults.losses, faults.duplicates, faults.expiries)
        gcs = _replicated(self._s3[scenario.replicated], scenario.protocol)
        found = gcs.objects.get(NAME)
        past = self._past[: scenario.replicated + 1]
        return State(
            changes=scenario.replicated,
            stored=self._stored_number(gcs),
            oldest=oldest_allowed(past, found),
            runs=(),
            machines=(),
            zombies=(),
            left=left,
        )

    def moves(self, state: State) -> Iterator[Move]:
        """All that can happen next."""
        for moves, trace in self._actors(state):
            if self._makes_no_difference(state, trace):
                yield from moves
                yield from self._faults(state)
                return
        if state.changes < len(self._scenario.history):
            yield self._source_changes(state)
        for moves, _ in self._actors(state):
            yield from moves
        yield from self._faults(state)

    def _makes_no_difference(self, state: State, trace: int) -> bool:
        """Whether a call may be carried out before all others: none of them would notice."""
        call = self._traces[trace].then
        assert isinstance(call, Call)
        if call.verb == "watch":
            return True
        if state.changes < len(self._scenario.history):
            return False
        if call.only_reads_source:
            return True  # S3 changes no more
        # Others look for the parts of the current version only.
        folder = _folder(call)
        return folder is not None and folder != self._folder and self._is_alone_in(state, folder)

    def _is_alone_in(self, state: State, folder: str) -> bool:
        """Whether at most one execution stages parts of this version, or sweeps them."""
        texts = [self._machines[number].at.data for number in state.machines]
        texts += [self._traces[zombie].work.text for zombie in state.zombies]
        return sum(self._folder_of(text) == folder for text in texts) <= 1

    def _folder_of(self, data: str) -> str | None:
        """Return the folder in which an execution stages, by its state."""
        if data not in self._folders:
            staged = json.loads(data).get("version") if data else None
            self._folders[data] = _folder_of_version(staged) if staged else None
        return self._folders[data]

    def _actors(self, state: State) -> Iterator[tuple[Iterable[Move], int]]:
        """Everybody who can carry out a call, and where that takes the state."""
        before = None
        for run in state.runs:
            if run != before:  # else it can do what the one before can
                yield self._run(state, run), run
            before = run
        for number in state.machines:
            machine = self._machines[number]
            for index, task in enumerate(machine.tasks):
                if task != DONE:
                    yield self._task(state, number, index), task
                    if not self._scenario.parallel:
                        break
        for zombie in state.zombies:
            yield self._zombie(state, zombie), zombie

    def _source_changes(self, state: State) -> Move:
        change = self._scenario.history[state.changes]
        runs = _with(state.runs, self._event)
        return Move(
            state._replace(changes=state.changes + 1, runs=runs), f"the source changes: {change}"
        )

    def _run(self, state: State, run: int) -> Iterator[Move]:
        work = self._traces[run].work
        for effect, later in self._effects(state, run):
            runs, broken = _without(state.runs, run), effect.broken
            match self._traces[effect.then].then:
                case Call():
                    runs = _with(runs, effect.then)
                case Result():  # acknowledged
                    runs = self._delivered(runs, effect.then)
                case error:
                    runs = _with(self._delivered(runs, effect.then), self._trace(work, ()))
                    broken += _unless_injected(error)
            machines = later.machines
            for name in effect.starts:
                machines = self._started(machines, name)
            who = f"watch of {work.text[:4]}" if work.text else "event"
            yield Move(
                later._replace(runs=runs, machines=machines), f"{who}: {effect.text}", broken
            )

    def _delivered(self, runs: tuple[int, ...], run: int) -> tuple[int, ...]:
        """Add the watches that a run has sent."""
        for name in self._traces[run].sent:
            runs = _with(runs, self._trace(watch(name), ()))
        return runs

    def _started(self, machines: tuple[int, ...], name: str) -> tuple[int, ...]:
        if any(self._machines[number].name == name for number in machines):
            return machines
        return _with(machines, self._entered(name, state_machine.begin(REF)))

    def _entered(self, name: str, at: Position) -> int:
        if at is STOPPED or at.has_ended:
            return self._machine_number(Machine(name, at))
        tasks = [self._trace(step(each), ()) for each in state_machine.payloads(at)]
        return self._machine_number(Machine(name, at, tuple(tasks)))

    def _task(self, state: State, number: int, index: int) -> Iterator[Move]:
        machine = self._machines[number]
        task = machine.tasks[index]
        work = self._traces[task].work
        for effect, later in self._effects(state, task):
            assert not effect.starts
            text = f"{machine.name[:4]} {work.kind}: {effect.text}"
            for then, zombies, broken in self._after_task(machine, index, effect.then):
                yield Move(
                    later._replace(
                        machines=_with(_without(state.machines, number), then),
                        zombies=tuple(sorted(state.zombies + zombies)),
                    ),
                    text,
                    effect.broken + broken,
                )

    def _after_task(
        self, machine: Machine, index: int, task: int
    ) -> Iterator[tuple[int, tuple[int, ...], tuple[Promise, ...]]]:
        """Return what becomes of an execution: its number, new zombies, broken promises."""
        ended = self._traces[task].then
        if isinstance(ended, Call):
            tasks = _replaced(machine.tasks, index, task)
            yield self._machine_number(machine._replace(tasks=tasks)), (), ()
        elif isinstance(ended, dict):
            tasks = _replaced(machine.tasks, index, DONE)
            if set(tasks) != {DONE}:
                yield self._machine_number(machine._replace(tasks=tasks)), (), ()
                return
            at = state_machine.succeeded(machine.at, [ended])
            yield self._entered(machine.name, at), (), ()
        else:
            broken = _unless_injected(ended)
            if isinstance(ended, TransientError):  # is retried
                again = self._trace(self._traces[task].work, ())
                tasks = _replaced(machine.tasks, index, again)
                yield self._machine_number(machine._replace(tasks=tasks)), (), broken
            at = state_machine.failed(machine.at, type(ended).__name__, "")
            others = [each for each in _without(machine.tasks, machine.tasks[index]) if each >= 0]
            begun = tuple(each for each in others if self._traces[each].responses)
            yield self._entered(machine.name, at), begun, broken

    def _zombie(self, state: State, zombie: int) -> Iterator[Move]:
        work = self._traces[zombie].work
        for effect, later in self._effects(state, zombie):
            zombies = _without(state.zombies, zombie)
            if isinstance(self._traces[effect.then].then, Call):
                zombies = _with(zombies, effect.then)
            yield Move(
                later._replace(zombies=zombies), f"zombie {work.kind}: {effect.text}", effect.broken
            )

    def _faults(self, state: State) -> Iterator[Move]:
        left = state.left
        if left.duplicates and state.changes:
            runs = _with(state.runs, self._event)
            left_then = left._replace(duplicates=left.duplicates - 1)
            yield Move(state._replace(runs=runs, left=left_then), "an event comes again")
        if left.crashes:
            yield from self._crashes(state._replace(left=left._replace(crashes=left.crashes - 1)))
        if left.kills:
            yield from self._kills(state._replace(left=left._replace(kills=left.kills - 1)))
        if left.expiries:
            yield from self._expires(state._replace(left=left._replace(expiries=left.expiries - 1)))
        if self._stored[state.stored].doomed:
            yield self._dooms(state)

    def _crashes(self, state: State) -> Iterator[Move]:
        for run in dict.fromkeys(state.runs):
            trace = self._traces[run]
            if trace.is_fresh and trace.responses:
                again = self._trace(trace.work, ())
                runs = _with(self._delivered(_without(state.runs, run), run), again)
                yield Move(state._replace(runs=runs), f"{trace.work.kind} crashes")
        for number in state.machines:
            machine = self._machines[number]
            for index, task in enumerate(machine.tasks):
                if task != DONE and self._traces[task].is_fresh and self._traces[task].responses:
                    again = self._trace(self._traces[task].work, ())
                    tasks = _replaced(machine.tasks, index, again)
                    then = self._machine_number(machine._replace(tasks=tasks))
                    yield Move(
                        state._replace(machines=_with(_without(state.machines, number), then)),
                        f"{machine.name[:4]} {self._traces[task].work.kind} crashes",
                    )

    def _kills(self, state: State) -> Iterator[Move]:
        for number in state.machines:
            machine = self._machines[number]
            tasks = [task for task in machine.tasks if task != DONE]
            if not tasks or not all(self._traces[task].is_fresh for task in tasks):
                continue
            then = self._machine_number(Machine(machine.name, STOPPED))
            stopped = state._replace(machines=_with(_without(state.machines, number), then))
            yield Move(stopped, f"{machine.name[:4]} is stopped")
            zombies = self._zombies(machine)
            if zombies:
                yield Move(
                    stopped._replace(zombies=tuple(sorted((*state.zombies, *zombies)))),
                    f"{machine.name[:4]} is stopped, its workers go on",
                )

    def _zombies(self, machine: Machine) -> tuple[int, ...]:
        """Return the workers that go on when an execution is stopped: those that just begin.

        What a worker has done before is what a zombie does afterwards.
        """
        if machine.at.state == "StageSlices":
            if not self._scenario.zombies:
                return ()
            tasks = [task for task in machine.tasks if task != DONE]
            tasks = tasks if self._scenario.parallel else tasks[:1]
            return tuple(task for task in tasks if not self._traces[task].responses)
        return machine.tasks if self._scenario.undead else ()

    def _expires(self, state: State) -> Iterator[Move]:
        objects, doomed = self._stored[state.stored]
        kept = tuple(each for each in objects if not each[0].startswith(PREFIX))
        if kept != objects:
            stored = self._number_stored(Stored(kept, doomed))
            yield Move(state._replace(stored=stored), "the lifecycle rule deletes staged objects")

    def _dooms(self, state: State) -> Move:
        gcs = self._gcs(state.stored)
        gcs.delete_doomed()
        return Move(
            state._replace(stored=self._stored_number(gcs)), "GCS deletes components of a compose"
        )

    def _effects(self, state: State, trace: int) -> Iterator[tuple[Effect, State]]:
        """Carry out the call that an invocation is suspended at, in each way it may go."""
        call = self._traces[trace].then
        assert isinstance(call, Call)
        states: tuple[tuple[str, ExecutionState], ...] = ()
        if call.verb == "describe":
            states = tuple(
                (machine.name, state_machine.described(machine.at, is_running=machine.is_running))
                for machine in (self._machines[number] for number in state.machines)
                if machine.name == call.text
            )
        fresh = self._free_generation(state, call.changes) if call.changes else 0
        is_lossy = bool(state.left.losses and call.changes)
        key = (trace, state.changes, state.stored, state.oldest, states, fresh, is_lossy)
        if key not in self._effects_known:
            self._effects_known[key] = list(
                self._work_out(state, trace, call, dict(states), fresh, is_lossy=is_lossy)
            )
        fewer = state.left._replace(losses=state.left.losses - 1)
        for effect in self._effects_known[key]:
            is_lost = is_lossy and effect.text.endswith(LOST_TEXT)
            yield (
                effect,
                state._replace(
                    stored=effect.stored,
                    oldest=effect.oldest,
                    left=fewer if is_lost else state.left,
                ),
            )

    def _work_out(
        self,
        state: State,
        trace: int,
        call: Call,
        states: dict[str, ExecutionState],
        fresh: int,
        *,
        is_lossy: bool,
    ) -> Iterator[Effect]:
        for way in call.alternatives:
            yield from self._go(state, trace, call, way, states, fresh, is_lossy=is_lossy)

    def _go(
        self,
        state: State,
        trace: int,
        call: Call,
        way: Alternative,
        states: dict[str, ExecutionState],
        fresh: int,
        *,
        is_lossy: bool,
    ) -> Iterator[Effect]:
        before = self._shown(state.stored)
        past = self._past[: state.changes + 1]
        gcs = self._gcs(state.stored, fresh)
        machines = Machines(states)
        response: object
        try:
            response = way(LargeStores(self._s3[state.changes], gcs, machines))
        except (LostRaceError, ReplicationError) as error:
            response = error
        after = gcs.objects.get(NAME)
        broken: tuple[Promise, ...] = ()
        oldest = state.oldest
        if after is not before:
            broken = tuple(broken_by(past, before, after, self._requirements, oldest))
            oldest = oldest_allowed(past, after, oldest)
        stored = self._stored_number(gcs)
        responses: list[tuple[object, str]] = [(response, f"{_text(call)} -> {_brief(response)}")]
        if is_lossy and not isinstance(response, Exception):
            responses.append((LOST, f"{_text(call)}{LOST_TEXT}"))
        for heard, text in responses:
            work, earlier = self._traces[trace].work, self._traces[trace].responses
            then = self._trace(work, (*earlier, self._values.number(heard)))
            endless: tuple[Promise, ...] = ()
            if len(self._traces[then].responses) > MAX_CALLS:
                then = self._trace(work, ())
                endless = (Promise.END,)
            yield Effect(
                text,
                then,
                stored,
                oldest,
                tuple(machines.starts),
                broken + endless,
            )

    def broken_in(self, state: State) -> tuple[Promise, ...]:
        """Judge a state by what still runs."""
        machines = [self._machines[number] for number in state.machines]
        is_running = any(machine.is_running for machine in machines)
        if is_running:
            return () if state.runs else (Promise.WATCHED,)
        if state.runs or state.zombies or state.changes <= self._scenario.replicated:
            return ()
        broken: tuple[Promise, ...] = ()
        if not equals_source(
            self._past[: state.changes + 1], self._shown(state.stored), self._requirements
        ):
            broken += (Promise.EQUAL,)
        leaves_parts = {STOPPED.state, "Failed"}
        has_left = any(machine.at.state in leaves_parts for machine in machines)
        if not has_left and self._staged(state.stored):
            broken += (Promise.TIDY,)
        return broken

    def _free_generation(self, state: State, name: str) -> int:
        """Return the least generation of a name that nothing knows of."""
        used = {
            self._object(number).generation
            for other, number in self._stored[state.stored].objects
            if other == name
        }
        doomed = [self._values.values[number] for number in self._stored[state.stored].doomed]
        known = [self._traces[trace].remembers for trace in (*state.runs, *state.zombies)]
        for number in state.machines:
            machine = self._machines[number]
            known.append(self._names[machine.name])
            known.extend(self._traces[task].remembers for task in machine.tasks if task != DONE)
            if machine.at.data:
                known.append(_planned(machine.at.data))
        used |= {generation for each in known for other, generation in each if other == name}
        used |= {
            each.generation for each in doomed if isinstance(each, Replica) and each.name == name
        }
        return next(number for number in range(1, len(used) + 2) if number not in used)

    def _trace(self, work: Work, responses: tuple[int, ...]) -> int:
        """Run the protocol with these responses, once."""
        key = (work, responses)
        if key not in self._trace_numbers:
            values = [self._values.values[response] for response in responses]
            then = self._scenario.protocol.advance(work, values)
            number = self._trace_numbers[key] = len(self._traces)
            before = self._traces[self._trace_numbers[work, responses[:-1]]] if responses else None
            last = before.then if before else None
            changed = isinstance(last, Call) and (last.changes or last.verb in {"watch", "start"})
            remembers = self._remembered(work, values)
            sent = before.sent if before else ()
            if isinstance(last, Call) and last.verb == "watch":
                sent += (last.text,)
            is_fresh = bool(changed or not before)
            self._traces.append(Trace(work, responses, then, remembers, is_fresh, sent))
            if isinstance(then, Call):
                if then.only_reads_source:
                    self._source_readers.add(number)
                if then.verb in {"describe", "watch", "start"} and then.text not in self._names:
                    self._names[then.text] = _last_seen(values)
        return self._trace_numbers[key]

    def _remembered(self, work: Work, values: Sequence[object]) -> frozenset[tuple[str, int]]:
        seen = {(each.name, each.generation) for each in _replicas(values)}
        if work.kind == "run":
            seen |= self._names.get(work.text, frozenset())
        else:
            seen |= _planned(work.text)
        return frozenset(seen)

    def _gcs(self, stored: int, fresh: int = 0) -> FakeGcs:
        gcs = self._scenario.gcs()
        gcs.next_generation = fresh
        objects, doomed = self._stored[stored]
        gcs.objects = {name: self._stored_object(number) for name, number in objects}
        values = [self._values.values[number] for number in doomed]
        gcs.doomed = [each for each in values if isinstance(each, Replica)]
        return gcs

    def _stored_number(self, gcs: FakeGcs) -> int:
        objects = tuple(
            (name, self._values.number(each)) for name, each in sorted(gcs.objects.items())
        )
        doomed = tuple(sorted(self._values.number(each) for each in gcs.doomed))
        return self._number_stored(Stored(objects, doomed))

    def _number_stored(self, stored: Stored) -> int:
        number = self._stored_numbers.setdefault(stored, len(self._stored))
        if number == len(self._stored):
            self._stored.append(stored)
        return number

    def _machine_number(self, machine: Machine) -> int:
        number = self._machine_numbers.setdefault(machine, len(self._machines))
        if number == len(self._machines):
            self._machines.append(machine)
        return number

    def _stored_object(self, number: int) -> StoredObject:
        stored = self._values.values[number]
        assert isinstance(stored, StoredObject)
        return stored

    def _object(self, number: int) -> Replica:
        return self._stored_object(number).replica

    def _shown(self, stored: int) -> StoredObject | None:
        for name, number in self._stored[stored].objects:
            if name == NAME:
                return self._stored_object(number)
        return None

    def _staged(self, stored: int) -> bool:
        doomed = {
            (each.name, each.generation)
            for each in _replicas([self._values.values[n] for n in self._stored[stored].doomed])
        }
        return any(
            name.startswith(PREFIX) and (name, self._object(number).generation) not in doomed
            for name, number in self._stored[stored].objects
        )


LOST_TEXT = " -> its response is lost"


def _text(call: Call) -> str:
    name = call.changes or call.text
    return f"{call.verb} {_short(name)}" if call.verb.startswith("GCS") else call.verb


def _short(name: str) -> str:
    return name if not name.startswith(PREFIX) else f"{name[9:13]}..{name.rpartition('/')[2]}"


def _brief(response: object) -> str:
    if isinstance(response, list):
        return ", ".join(_short(each.name) for each in response) or "nothing"
    return brief(response)


def _unless_injected(error: object) -> tuple[Promise, ...]:
    """Nothing fails by itself: all failures are those of a request whose response was lost."""
    is_injected = isinstance(error, UnavailableError) or (
        isinstance(error, TransientError) and str(error).startswith(LOST.code)
    )
    return () if is_injected else (Promise.SUCCESS,)


def _is_rare(state: State, move: search.Move[State]) -> bool:
    return move.state.left != state.left or move.state.changes != state.changes


def _replicas(values: Iterable[object]) -> Iterator[Replica]:
    for value in values:
        if isinstance(value, Replica):
            yield value
        elif isinstance(value, list):
            yield from _replicas(value)


def _last_seen(values: Sequence[object]) -> frozenset[tuple[str, int]]:
    """Return the generation of the replica that a run saw last: it names an execution."""
    seen = [(each.name, each.generation) for each in _replicas(values) if each.name == NAME]
    return frozenset(seen[-1:])


def _planned(data: str) -> frozenset[tuple[str, int]]:
    """Return the generation in the state of an execution."""
    _, found, rest = data.partition('"generation": "')
    return frozenset({(NAME, int(rest.partition('"')[0]))}) if found else frozenset()


def _folder(call: Call) -> str | None:
    """Return the folder of the staged objects that a call reads or changes."""
    name = call.changes or call.text
    is_staged = call.verb.startswith("GCS ") and name.startswith(PREFIX)
    return "/".join(name.split("/")[:2]) + "/" if is_staged else None


def _folder_of_version(staged: str) -> str:
    folder: str = vars(large)["staging_folder"](PREFIX, staged, NAME)  # a variant may replace it
    return folder


def _with(numbers: tuple[int, ...], number: int) -> tuple[int, ...]:
    return tuple(sorted((*numbers, number)))


def _without(numbers: tuple[int, ...], number: int) -> tuple[int, ...]:
    at = numbers.index(number)
    return numbers[:at] + numbers[at + 1 :]


def _replaced(numbers: tuple[int, ...], index: int, number: int) -> tuple[int, ...]:
    return (*numbers[:index], number, *numbers[index + 1 :])


def _replicated(s3: FakeS3, protocol: LargeProtocol) -> FakeGcs:
    """Return the destination when one run has replicated all, with nothing else going on."""
    gcs = FakeGcs()
    assembler = Assembler(
        source=s3, destination=gcs, prefix=PREFIX, sizes=SIZES, in_parallel=in_order
    )
    Replicator(
        source=s3,
        destination=gcs,
        naming=NAMING,
        clock=UnlimitedClock(),
        policy=protocol.policy,
        assembler=assembler,
    ).replicate(REF)
    gcs.objects = {
        name: replace(stored, replica=replace(stored.replica, generation=1))
        for name, stored in gcs.objects.items()
    }
    return gcs


def explore(scenario: LargeScenario, wanted: Promise | None = None) -> Report:
    """Visit every state of a scenario, or all until a promise is broken."""
    return LargeExplorer(scenario).explore(wanted)


def wander(scenario: LargeScenario, ways: int, seed: int) -> Report:
    """Follow random schedules of a scenario to their ends."""
    return LargeExplorer(scenario).wander(ways, seed)
