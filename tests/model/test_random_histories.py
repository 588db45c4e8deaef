"""Random schedules of several objects with long histories, crashes and faults of the stores.

Events arrive late, twice and in any order, and so do requests for a copy. Their runs alternate call
by call and crash. The stores fail before or after a request takes effect.
"""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, NamedTuple

import pytest
from fakes import A_SECOND, PLAIN, FakeGcs, FakeS3, Pinned, StoredObject
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
from model.promises import (
    BUCKET,
    Requirements,
    broken_by,
    equals_source,
    oldest_allowed,
    was_deleted_by_user,
)
from model.runs import Call, PortsOf, Protocol, Stores, byte_by_byte, faithful
from model.variants import WithoutPrecondition, WithoutVerify, flawed_protocol

from replicate.errors import (
    DestinationChangedError,
    DestinationUnavailableError,
    ReplicationError,
    SourceChangedError,
    SourceUnavailableError,
)
from replicate.protocol.evidence import (
    HINT,
    REQUEST,
    Deletes,
    Evidence,
    EvidenceKind,
    user_deletion,
)
from replicate.protocol.model import Expectation, SourceRef
from replicate.protocol.plan import Overwrite, Policy

REFS = tuple(SourceRef(BUCKET, key) for key in ("a", "b c"))
EXPECTATIONS = (Expectation.UNKNOWN, Expectation.CHANGED, Expectation.NEW)

UNRELATED = "alone"
"""The name of an object at the destination that no event concerns."""

MAX_CALLS = 200
"""A run without interference ends within this number of calls."""

refs = st.sampled_from(REFS)
expectations = st.sampled_from(EXPECTATIONS)
picks = st.integers(0, 7)
calls = st.integers(0, 10)


class Event(NamedTuple):
    """A delivery: an event of S3, or a request for a copy."""

    ref: SourceRef
    evidence: Evidence = HINT


@dataclass(eq=False)
class Run:
    """The run of a delivered event: its responses so far, and what it does next."""

    event: Event
    protocol: Protocol
    expectation: Expectation
    responses: list[object] = field(default_factory=list)
    written: int = 0
    """Generation of what the run wrote last."""

    def __post_init__(self) -> None:
        self._advance()

    @property
    def ref(self) -> SourceRef:
        return self.event.ref

    @property
    def call(self) -> Call:
        """Return the call at which the run is suspended."""
        assert isinstance(self.now, Call)
        return self.now

    def advance(self, response: object) -> None:
        self.responses.append(response)
        self._advance()

    def _advance(self) -> None:
        self.now = self.protocol.advance(
            self.ref, self.expectation, self.responses, self.event.evidence
        )


class Histories(RuleBasedStateMachine):
    """The stores, the events and the runs, and the rules by which they change."""

    store: ClassVar[type[FakeGcs]] = FakeGcs
    ports: ClassVar[tuple[PortsOf, ...]] = (faithful, byte_by_byte)

    @initialize(
        data=st.data(),
        versioned=st.booleans(),
        tick=st.sampled_from([A_SECOND, timedelta(0)]),
        policy=st.builds(
            Policy, overwrite=st.sampled_from(Overwrite), deletes=st.sampled_from(Deletes)
        ),
        foreign=st.frozensets(refs),
    )
    def begin(
        self,
        data: st.DataObject,
        *,
        versioned: bool,
        tick: timedelta,
        policy: Policy,
        foreign: frozenset[SourceRef],
    ) -> None:
        self.s3 = FakeS3(versioned=versioned, tick=tick)
        self.is_one_moment = not tick
        self.gcs = self.store()
        self.protocol = Protocol(policy=policy, ports=data.draw(st.sampled_from(self.ports)))
        self.requirements = Requirements.of(policy)
        self.past: dict[SourceRef, list[Pinned | None]] = {ref: [None] for ref in REFS}
        self.oldest = dict.fromkeys(REFS, 0)
        self.deletions: dict[SourceRef, list[int]] = {ref: [] for ref in REFS}
        self.waiting: list[Event] = []
        self.delivered: list[Event] = []
        self.crashed: set[SourceRef] = set()
        self.runs: list[Run] = []
        if policy.overwrite is Overwrite.OWN:  # a run fails when it finds one
            foreign = frozenset()
        for name in (UNRELATED, *(ref.key for ref in foreign)):
            self.gcs.put(name, b"theirs", PLAIN)

    @rule(
        ref=refs,
        contents=st.sampled_from([b"", b"1", b"22", b"33"]),
        note=st.sampled_from(["", "a note"]),
        multipart=st.booleans(),
        expectation=expectations,
        calls=calls,
    )
    def put(
        self,
        ref: SourceRef,
        contents: bytes,
        note: str,
        expectation: Expectation,
        calls: int,
        *,
        multipart: bool,
    ) -> None:
        self.s3.put(ref, contents, {"note": note}, multipart=multipart)
        self._changed(Event(ref), expectation, calls)

    @rule(ref=refs, for_good=st.booleans(), expectation=expectations, calls=calls)
    def remove(
        self, ref: SourceRef, expectation: Expectation, calls: int, *, for_good: bool
    ) -> None:
        if for_good and self.s3.versioned:
            self.s3.drop_newest(ref)
        else:
            self.s3.delete(ref)
        if self.s3.pin(ref) is None:
            self.deletions[ref].append(len(self.past[ref]))
        self._changed(Event(ref, user_deletion(self.s3.now)), expectation, calls)

    @rule(ref=refs, expectation=expectations, calls=calls)
    def expire(self, ref: SourceRef, expectation: Expectation, calls: int) -> None:
        """A lifecycle rule deletes the object."""
        if self.s3.pin(ref):
            self.s3.delete(ref)
            self._changed(Event(ref), expectation, calls)

    @rule(ref=refs, calls=calls)
    def request(self, ref: SourceRef, calls: int) -> None:
        """Somebody asks for a copy."""
        self._start(Event(ref, REQUEST), Expectation.UNKNOWN, calls)

    @precondition(lambda self: self.waiting)
    @rule(pick=picks, expectation=expectations, calls=calls)
    def deliver(self, pick: int, expectation: Expectation, calls: int) -> None:
        self._start(self.waiting.pop(pick % len(self.waiting)), expectation, calls)

    @precondition(lambda self: self.delivered)
    @rule(pick=picks)
    def deliver_again(self, pick: int) -> None:
        self.waiting.append(self.delivered[pick % len(self.delivered)])

    @precondition(lambda self: self.runs)
    @rule(pick=picks, calls=calls, alternative=picks)
    def make_calls(self, pick: int, calls: int, alternative: int) -> None:
        self._advance(self._picked(pick), calls, alternative)

    @precondition(lambda self: self.runs)
    @rule(pick=picks)
    def crash(self, pick: int) -> None:
        self._requeue(self._picked(pick))

    @precondition(lambda self: self.runs)
    @rule(pick=picks, effective=st.booleans())
    def fail(self, pick: int, *, effective: bool) -> None:
        """The store does not respond. The request may have taken effect, or not."""
        run = self._picked(pick)
        unavailable = (
            SourceUnavailableError if run.call.only_reads_source else DestinationUnavailableError
        )
        if effective:
            self._carry_out(run)
        self._return(run, unavailable("no response"), fails=True)

    @precondition(lambda self: self.waiting or self.runs)
    @rule(pick=picks)
    def await_quiescence(self, pick: int) -> None:
        """After all events are delivered and all runs have ended, destination equals source."""
        while self.runs or self.waiting:
            if not self.runs:
                self._start(self.waiting.pop(), Expectation.UNKNOWN, 0)
            run = self._picked(pick)
            self._advance(run, MAX_CALLS)
            assert run not in self.runs, "a run without interference does not end"
        for ref in REFS:
            assert equals_source(
                self.past[ref],
                self.gcs.objects.get(ref.key),
                self.requirements,
                must_be_gone=self._must_be_gone(ref),
            )

    @invariant()
    def unrelated_object_is_unchanged(self) -> None:
        if hasattr(self, "gcs"):
            assert self.gcs.objects.keys() <= {UNRELATED, *(ref.key for ref in REFS)}
            assert self.gcs.objects[UNRELATED].replica.generation == 1

    def teardown(self) -> None:
        if hasattr(self, "gcs"):
            self.await_quiescence(0)

    def _must_be_gone(self, ref: SourceRef) -> bool:
        """Return whether the replica of a source that is gone must be gone, too."""
        if ref in self.crashed:
            return False
        by_user = len(self.past[ref]) - 1 in self.deletions[ref]
        return by_user or self.protocol.policy.deletes is Deletes.ALL

    def _may_delete(self, run: Run, before: StoredObject) -> bool:
        """Return whether a run may delete an object: a user did, or the run itself wrote it.

        A version and a deletion of the same second cannot be told apart (docs/GUARANTEES.md).
        """
        if run.written == before.replica.generation:
            return True
        if self.protocol.policy.deletes is Deletes.ALL:
            return run.event.evidence.kind is not EvidenceKind.REQUEST
        return run.event.evidence.kind is EvidenceKind.USER_DELETION and (
            self.is_one_moment
            or was_deleted_by_user(self.past[run.ref], self.deletions[run.ref], before)
        )

    def _changed(self, event: Event, expectation: Expectation, calls: int) -> None:
        """Record a change of the source, and deliver its event now or later."""
        self.past[event.ref].append(self.s3.pin(event.ref))
        if calls:
            self._start(event, expectation, calls)
        else:
            self.waiting.append(event)

    def _start(self, event: Event, expectation: Expectation, calls: int) -> None:
        run = Run(event, self.protocol, expectation)
        self.delivered.append(event)
        self.runs.append(run)
        self._advance(run, calls)

    def _picked(self, pick: int) -> Run:
        return self.runs[pick % len(self.runs)]

    def _advance(self, run: Run, calls: int, alternative: int = 0) -> None:
        for _ in range(calls):
            if run in self.runs:
                self._return(run, self._carry_out(run, alternative))

    def _carry_out(self, run: Run, alternative: int = 0) -> object:
        """Execute the call of a run, check the promises, and return the response."""
        before = self.gcs.objects.get(run.ref.key)
        response: object
        try:
            response = run.call.alternatives[alternative % len(run.call.alternatives)](
                Stores(self.s3, self.gcs)
            )
        except (SourceChangedError, DestinationChangedError) as error:
            response = error
        after = self.gcs.objects.get(run.ref.key)
        if after is not before:
            past, oldest = self.past[run.ref], self.oldest[run.ref]
            assert not list(broken_by(past, before, after, self.requirements, oldest))
            if before and not after:
                assert self._may_delete(run, before)
            if after and run.call.verb == "GCS write":
                run.written = after.replica.generation
            self.oldest[run.ref] = oldest_allowed(past, after, oldest)
        return response

    def _return(self, run: Run, response: object, *, fails: bool = False) -> None:
        """Pass the response of a call to its run. The event of a failed run is delivered again."""
        run.advance(response)
        if isinstance(run.now, Call):
            return
        assert isinstance(run.now, ReplicationError) == fails
        if fails:
            self._requeue(run)
        else:
            self.runs.remove(run)

    def _requeue(self, run: Run) -> None:
        """Deliver the event again. What a crashed run created may stay when its source is gone."""
        self.runs.remove(run)
        self.waiting.append(run.event)
        is_proof = self.protocol.policy.deletes is Deletes.ALL
        if not is_proof or run.event.evidence == REQUEST:
            self.crashed.add(run.ref)


class HistoriesWithoutPrecondition(Histories):
    store = WithoutPrecondition


class HistoriesWithoutVerify(Histories):
    ports = (flawed_protocol(WithoutVerify).ports,)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "200")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("mutation", [HistoriesWithoutPrecondition, HistoriesWithoutVerify])
def test_random_histories_detect_a_missing_part(mutation: type[Histories]) -> None:
    search = settings(
        TestHistories.settings,
        max_examples=1000,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(mutation, settings=search)
