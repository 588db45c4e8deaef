"""Several objects, long histories, and everything that goes wrong: not all schedules, but any.

Events come late, twice and in any order; runs of any of them take turns call by call, crash, and
meet stores that fail before or after they did what they were asked.
"""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

import pytest
from fakes import A_SECOND, PLAIN, FakeGcs, FakeS3, Pinned
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model.promises import BUCKET, Terms, broken_by, oldest_allowed, settled
from model.runs import Call, PortsOf, Protocol, Stores, byte_by_byte, faithful
from model.variants import Unconditional, Unverified, loosely

from replicate.errors import (
    DestinationChangedError,
    DestinationUnavailableError,
    ReplicationError,
    SourceChangedError,
    SourceUnavailableError,
)
from replicate.protocol.model import SourceRef
from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.replicator import Expectation

REFS = tuple(SourceRef(BUCKET, key) for key in ("a", "b c"))
HINTS = (Expectation.UNKNOWN, Expectation.CHANGED, Expectation.NEW)

ALONE = "alone"
"""An object at the destination that has nothing to do with any of this."""

ENOUGH = 200
"""Calls after which a run that nobody disturbs has ended."""

refs = st.sampled_from(REFS)
hints = st.sampled_from(HINTS)
picks = st.integers(0, 7)
calls = st.integers(0, 10)


@dataclass(eq=False)
class Run:
    """A delivered event: what its run has been answered so far, and where that took it."""

    ref: SourceRef
    protocol: Protocol
    hint: Expectation
    answers: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = self.protocol.advance(self.ref, self.hint, self.answers)

    @property
    def call(self) -> Call:
        """What it waits for."""
        assert isinstance(self.now, Call)
        return self.now

    def go_on(self, answer: object) -> None:
        self.answers.append(answer)
        self.now = self.protocol.advance(self.ref, self.hint, self.answers)


class Histories(RuleBasedStateMachine):
    """The world around the replicator."""

    store: ClassVar[type[FakeGcs]] = FakeGcs
    ports: ClassVar[tuple[PortsOf, ...]] = (faithful, byte_by_byte)

    @initialize(
        data=st.data(),
        versioned=st.booleans(),
        tick=st.sampled_from([A_SECOND, timedelta(0)]),
        policy=st.builds(Policy, overwrite=st.sampled_from(Overwrite), deletes=st.booleans()),
        theirs=st.frozensets(refs),
    )
    def begin(
        self,
        data: st.DataObject,
        *,
        versioned: bool,
        tick: timedelta,
        policy: Policy,
        theirs: frozenset[SourceRef],
    ) -> None:
        self.s3 = FakeS3(versioned=versioned, tick=tick)
        self.gcs = self.store()
        self.protocol = Protocol(policy=policy, ports=data.draw(st.sampled_from(self.ports)))
        self.terms = Terms.of(policy)
        self.past: dict[SourceRef, list[Pinned | None]] = {ref: [None] for ref in REFS}
        self.oldest = dict.fromkeys(REFS, 0)
        self.waiting: list[SourceRef] = []
        self.delivered: list[SourceRef] = []
        self.runs: list[Run] = []
        for name in (ALONE, *(ref.key for ref in theirs)):
            self.gcs.put(name, b"theirs", PLAIN)

    @rule(
        ref=refs,
        contents=st.sampled_from([b"", b"1", b"22", b"33"]),
        note=st.sampled_from(["", "a note"]),
        multipart=st.booleans(),
        hint=hints,
        calls=calls,
    )
    def put(
        self,
        ref: SourceRef,
        contents: bytes,
        note: str,
        hint: Expectation,
        calls: int,
        *,
        multipart: bool,
    ) -> None:
        self.s3.put(ref, contents, {"note": note}, multipart=multipart)
        self._changed(ref, hint, calls)

    @rule(ref=refs, for_good=st.booleans(), hint=hints, calls=calls)
    def remove(self, ref: SourceRef, hint: Expectation, calls: int, *, for_good: bool) -> None:
        if for_good and self.s3.versioned:
            self.s3.drop_newest(ref)
        else:
            self.s3.delete(ref)
        self._changed(ref, hint, calls)

    @precondition(lambda self: self.waiting)
    @rule(pick=picks, hint=hints, calls=calls)
    def deliver(self, pick: int, hint: Expectation, calls: int) -> None:
        self._start(self.waiting.pop(pick % len(self.waiting)), hint, calls)

    @precondition(lambda self: self.delivered)
    @rule(pick=picks)
    def deliver_again(self, pick: int) -> None:
        self.waiting.append(self.delivered[pick % len(self.delivered)])

    @precondition(lambda self: self.runs)
    @rule(pick=picks, calls=calls, way=picks)
    def go_on(self, pick: int, calls: int, way: int) -> None:
        self._go_on(self._picked(pick), calls, way)

    @precondition(lambda self: self.runs)
    @rule(pick=picks)
    def crash(self, pick: int) -> None:
        self._lose(self._picked(pick))

    @precondition(lambda self: self.runs)
    @rule(pick=picks, effective=st.booleans())
    def fail(self, pick: int, *, effective: bool) -> None:
        """The store does not answer: it may have done what it was asked, or not."""
        run = self._picked(pick)
        unavailable = (
            SourceUnavailableError if run.call.only_reads_source else DestinationUnavailableError
        )
        if effective:
            self._carry_out(run)
        self._answer(run, unavailable("no answer"), fails=True)

    @precondition(lambda self: self.waiting or self.runs)
    @rule(pick=picks)
    def calm_down(self, pick: int) -> None:
        """All events are delivered, all runs end: then the destination equals the source."""
        while self.runs or self.waiting:
            if not self.runs:
                self._start(self.waiting.pop(), Expectation.UNKNOWN, 0)
            run = self._picked(pick)
            self._go_on(run, ENOUGH)
            assert run not in self.runs, "a run that nobody disturbs does not end"
        for ref in REFS:
            assert settled(self.past[ref], self.gcs.objects.get(ref.key), self.terms)

    @invariant()
    def touches_nothing_else(self) -> None:
        if hasattr(self, "gcs"):
            assert self.gcs.objects.keys() <= {ALONE, *(ref.key for ref in REFS)}
            assert self.gcs.objects[ALONE].replica.generation == 1

    def teardown(self) -> None:
        if hasattr(self, "gcs"):
            self.calm_down(0)

    def _changed(self, ref: SourceRef, hint: Expectation, calls: int) -> None:
        """The source has changed: its event may come now, or whenever."""
        self.past[ref].append(self.s3.pin(ref))
        if calls:
            self._start(ref, hint, calls)
        else:
            self.waiting.append(ref)

    def _start(self, ref: SourceRef, hint: Expectation, calls: int) -> None:
        run = Run(ref, self.protocol, hint)
        self.delivered.append(ref)
        self.runs.append(run)
        self._go_on(run, calls)

    def _picked(self, pick: int) -> Run:
        return self.runs[pick % len(self.runs)]

    def _go_on(self, run: Run, calls: int, way: int = 0) -> None:
        for _ in range(calls):
            if run in self.runs:
                self._answer(run, self._carry_out(run, way))

    def _carry_out(self, run: Run, way: int = 0) -> object:
        """Do what a run asks for, and judge it: the answer."""
        before = self.gcs.objects.get(run.ref.key)
        answer: object
        try:
            answer = run.call.ways[way % len(run.call.ways)](Stores(self.s3, self.gcs))
        except (SourceChangedError, DestinationChangedError) as error:
            answer = error
        after = self.gcs.objects.get(run.ref.key)
        if after is not before:
            past, oldest = self.past[run.ref], self.oldest[run.ref]
            assert not list(broken_by(past, before, after, self.terms, oldest))
            self.oldest[run.ref] = oldest_allowed(past, after, oldest)
        return answer

    def _answer(self, run: Run, answer: object, *, fails: bool = False) -> None:
        """Tell a run; should it fail now, its event is kept."""
        run.go_on(answer)
        if isinstance(run.now, Call):
            return
        assert isinstance(run.now, ReplicationError) == fails
        if fails:
            self._lose(run)
        else:
            self.runs.remove(run)

    def _lose(self, run: Run) -> None:
        self.runs.remove(run)
        self.waiting.append(run.ref)


class WithoutPrecondition(Histories):
    store = Unconditional


class WithoutVerify(Histories):
    ports = (loosely(Unverified).ports,)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "200")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("mutation", [WithoutPrecondition, WithoutVerify])
def test_random_histories_find_what_is_missing(mutation: type[Histories]) -> None:
    searching = settings(
        TestHistories.settings,
        max_examples=1000,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(mutation, settings=searching)
