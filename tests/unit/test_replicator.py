"""The replicator retries after a lost race, and tells a lost race from a refusal by policy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from fakes import FakeGcs, FakeS3, assembler

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    OutOfTimeError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    Attributes,
    Expectation,
    Precondition,
    Reason,
    Replica,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.plan import Policy
from replicate.protocol.ports import Body, GatedBody
from replicate.protocol.replicator import Replicator

REF = SourceRef("source", "key")


@dataclass
class LimitedClock:
    """A clock that records the pauses and allows `left` rounds."""

    left: int = 100
    pauses: list[int] = field(default_factory=list)

    def monotonic(self) -> float:
        return 0.0

    def require(self) -> None:
        if self.left <= 0:
            raise OutOfTimeError("no more rounds")
        self.left -= 1

    def pause(self, lost_races: int) -> None:
        self.pauses.append(lost_races)


class ContendedGcs(FakeGcs):
    """The first `races` writes fail: another program wrote first, or a policy returns 412."""

    def __init__(self, races: int, *, policy: bool = False) -> None:
        super().__init__()
        self.races = races
        self.policy = policy
        self.writes = 0

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        self.writes += 1
        if self.writes <= self.races and self.policy:
            raise DestinationChangedError("Forbidden by policy.")
        if self.writes <= self.races:
            self.put(name, b"theirs")
        return super().write(name, attributes, body, precondition, storage_class)


class ChangingS3(FakeS3):
    """Refuses to open a described version, the first `refusals` times.

    When `changes` is set, the object has changed each time.
    """

    def __init__(self, refusals: int, *, changes: bool = False) -> None:
        super().__init__()
        self.refusals = refusals
        self.changes = changes
        self.opened = 0

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        self.opened += version is not None
        if version is not None and self.opened <= self.refusals:
            if self.changes:
                self.put(ref, f"change {self.opened}".encode())
            raise SourceChangedError("Not this one.")
        with super().open(ref, version, span) as body:
            yield body


def replicator(
    s3: FakeS3,
    gcs: FakeGcs,
    clock: LimitedClock,
    storage_classes: Mapping[str, str] | None = None,
) -> Replicator:
    return Replicator(
        source=s3,
        destination=gcs,
        naming=Naming("replica"),
        clock=clock,
        policy=Policy(deletes=Deletes.ALL),
        storage_classes=storage_classes or {},
        assembler=assembler(s3, gcs),
    )


def s3_with_object() -> FakeS3:
    s3 = FakeS3()
    s3.put(REF, b"ours")
    return s3


def test_pause_depends_on_the_number_of_lost_races() -> None:
    gcs, clock = ContendedGcs(races=4), LimitedClock()
    result = replicator(s3_with_object(), gcs, clock).replicate(REF)
    assert clock.pauses == [1, 2, 3, 4]
    assert result.reason is Reason.FOREIGN_OVERWRITTEN
    assert gcs.objects["key"].data == b"ours"


def test_run_does_not_pause_without_a_lost_race() -> None:
    clock = LimitedClock()
    replicator(s3_with_object(), FakeGcs(), clock).replicate(REF)
    assert clock.pauses == []


def test_run_ends_at_the_deadline_when_it_loses_every_race() -> None:
    clock = LimitedClock(left=50)
    with pytest.raises(OutOfTimeError):
        replicator(s3_with_object(), ContendedGcs(races=10**6), clock).replicate(REF)
    assert clock.pauses == list(range(1, 51))


@pytest.mark.parametrize(
    ("expectation", "pauses"),
    [(Expectation.UNKNOWN, [1, 2]), (Expectation.CHANGED, [1, 2]), (Expectation.NEW, [2])],
    ids=["look first", "changed", "new"],
)
def test_run_fails_when_a_new_object_is_refused_twice_while_absent(
    expectation: Expectation, pauses: list[int]
) -> None:
    """A wrong expectation is not a lost race, so no pause follows it."""
    gcs, clock = ContendedGcs(races=10**6, policy=True), LimitedClock()
    with pytest.raises(DestinationForbiddenError, match=r"s3://source/key.*Forbidden by policy\."):
        replicator(s3_with_object(), gcs, clock).replicate(REF, expectation)
    assert gcs.writes == 2
    assert clock.pauses == pauses
    assert gcs.objects == {}


def test_new_object_is_retried_after_one_refusal() -> None:
    gcs = ContendedGcs(races=1, policy=True)
    result = replicator(s3_with_object(), gcs, LimitedClock()).replicate(REF)
    assert result.reason is Reason.CREATED
    assert gcs.writes == 2


def test_refusals_are_counted_again_when_the_object_appears_in_between() -> None:
    """Absent and refused, present and outrun, absent and refused: these are three lost races."""

    class Flicker(ContendedGcs):
        def head(self, name: str) -> Replica | None:
            if self.writes == 1:
                self.put(name, b"theirs")
            elif self.writes == 2:
                self.objects.pop(name, None)
            return super().head(name)

    gcs = Flicker(races=3, policy=True)
    assert replicator(s3_with_object(), gcs, LimitedClock()).replicate(REF).reason is Reason.CREATED
    assert gcs.writes == 4


def test_run_fails_when_an_unchanged_source_is_refused_twice() -> None:
    s3, gcs = ChangingS3(refusals=10**6), FakeGcs()
    s3.put(REF, b"ours")
    with pytest.raises(SourceForbiddenError, match=r"s3://source/key.*Not this one\."):
        replicator(s3, gcs, LimitedClock()).replicate(REF)
    assert s3.opened == 2
    assert gcs.objects == {}


def test_source_is_retried_after_one_refusal() -> None:
    s3 = ChangingS3(refusals=1)
    s3.put(REF, b"ours")
    assert replicator(s3, FakeGcs(), LimitedClock()).replicate(REF).reason is Reason.CREATED


def test_run_succeeds_when_the_source_changes_several_times() -> None:
    s3, gcs = ChangingS3(refusals=6, changes=True), FakeGcs()
    s3.put(REF, b"ours")
    assert replicator(s3, gcs, LimitedClock()).replicate(REF).reason is Reason.CREATED
    assert gcs.objects["key"].data == b"change 6"


def test_refusals_of_source_and_destination_are_counted_separately() -> None:
    s3, gcs = ChangingS3(refusals=1), ContendedGcs(races=1, policy=True)
    s3.put(REF, b"ours")
    assert replicator(s3, gcs, LimitedClock()).replicate(REF).reason is Reason.CREATED
