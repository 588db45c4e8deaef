"""What the protocol makes of lost races: it waits, looks again, and knows a refusal from a race."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from fakes import FakeGcs, FakeS3

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    OutOfTimeError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    Attributes,
    Precondition,
    Reason,
    Replica,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.plan import Policy
from replicate.protocol.ports import Body, GatedBody
from replicate.protocol.replicator import Expectation, Replicator

REF = SourceRef("source", "key")
NEW_AND_SMALL = Expectation.NEW


@dataclass
class Rounds:
    """A clock that notes the pauses and lets so many rounds begin."""

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


class BusyGcs(FakeGcs):
    """At each of the first `races` writes somebody else is faster, or a policy says 412."""

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


class ShyS3(FakeS3):
    """It describes an object and then does not give that version, the first `refusals` times.

    When `changes` is set the object has really changed.
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
    clock: Rounds,
    storage_classes: Mapping[str, str] | None = None,
) -> Replicator:
    return Replicator(
        source=s3,
        destination=gcs,
        naming=Naming("replica"),
        clock=clock,
        policy=Policy(deletes=True),
        storage_classes=storage_classes or {},
    )


def a_source_object() -> FakeS3:
    s3 = FakeS3()
    s3.put(REF, b"ours")
    return s3


def test_the_pause_after_each_lost_race_is_told_how_many_there_were() -> None:
    gcs, clock = BusyGcs(races=4), Rounds()
    outcome = replicator(a_source_object(), gcs, clock).replicate(REF)
    assert clock.pauses == [1, 2, 3, 4]
    assert outcome.reason is Reason.OVERWRITTEN
    assert gcs.objects["key"].data == b"ours"


def test_a_run_without_a_lost_race_never_pauses() -> None:
    clock = Rounds()
    replicator(a_source_object(), FakeGcs(), clock).replicate(REF)
    assert clock.pauses == []


def test_races_that_never_end_are_ended_by_the_clock() -> None:
    clock = Rounds(left=50)
    with pytest.raises(OutOfTimeError):
        replicator(a_source_object(), BusyGcs(races=10**6), clock).replicate(REF)
    assert clock.pauses == list(range(1, 51))


@pytest.mark.parametrize(
    ("hint", "pauses"),
    [(Expectation.UNKNOWN, [1, 2]), (Expectation.CHANGED, [1, 2]), (NEW_AND_SMALL, [2])],
    ids=["look first", "changed", "new"],
)
def test_a_new_object_that_is_refused_twice_while_absent_is_refused_for_good(
    hint: Expectation, pauses: list[int]
) -> None:
    """An assumption that was wrong is no lost race: there is no pause after it."""
    gcs, clock = BusyGcs(races=10**6, policy=True), Rounds()
    with pytest.raises(DestinationForbiddenError, match=r"s3://source/key.*Forbidden by policy\."):
        replicator(a_source_object(), gcs, clock).replicate(REF, hint)
    assert gcs.writes == 2
    assert clock.pauses == pauses
    assert gcs.objects == {}


def test_one_refusal_of_a_new_object_proves_nothing() -> None:
    gcs = BusyGcs(races=1, policy=True)
    outcome = replicator(a_source_object(), gcs, Rounds()).replicate(REF)
    assert outcome.reason is Reason.CREATED
    assert gcs.writes == 2


def test_an_object_that_appears_in_between_starts_the_count_again() -> None:
    """Absent and refused, present and overtaken, absent and refused: three races."""

    class Flicker(BusyGcs):
        def head(self, name: str) -> Replica | None:
            if self.writes == 1:
                self.put(name, b"theirs")
            elif self.writes == 2:
                self.objects.pop(name, None)
            return super().head(name)

    gcs = Flicker(races=3, policy=True)
    assert replicator(a_source_object(), gcs, Rounds()).replicate(REF).reason is Reason.CREATED
    assert gcs.writes == 4


def test_a_source_that_is_refused_twice_while_unchanged_is_refused_for_good() -> None:
    s3, gcs = ShyS3(refusals=10**6), FakeGcs()
    s3.put(REF, b"ours")
    with pytest.raises(SourceForbiddenError, match=r"s3://source/key.*Not this one\."):
        replicator(s3, gcs, Rounds()).replicate(REF)
    assert s3.opened == 2
    assert gcs.objects == {}


def test_one_refusal_of_a_source_proves_nothing() -> None:
    s3 = ShyS3(refusals=1)
    s3.put(REF, b"ours")
    assert replicator(s3, FakeGcs(), Rounds()).replicate(REF).reason is Reason.CREATED


def test_a_source_that_changes_again_and_again_is_no_refusal() -> None:
    s3, gcs = ShyS3(refusals=6, changes=True), FakeGcs()
    s3.put(REF, b"ours")
    assert replicator(s3, gcs, Rounds()).replicate(REF).reason is Reason.CREATED
    assert gcs.objects["key"].data == b"change 6"


def test_a_refusal_of_the_source_and_one_of_the_destination_are_not_added_up() -> None:
    s3, gcs = ShyS3(refusals=1), BusyGcs(races=1, policy=True)
    s3.put(REF, b"ours")
    assert replicator(s3, gcs, Rounds()).replicate(REF).reason is Reason.CREATED
