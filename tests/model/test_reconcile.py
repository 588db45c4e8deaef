"""A repair while everything changes, over the function as it is shipped and stores in memory.

At every call of a port something may happen: objects are created, overwritten and deleted on both
sides, events are lost, duplicated, delivered late and in any order, processes are killed.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fakes import PLAIN, FakeGcs, FakeS3
from listings import (
    FakeJournal,
    FakeReplicaListing,
    FakeReports,
    FakeSourceListing,
    KilledError,
    Machine,
)
from memory import Context, MemoryStores

from replicate.entry.invocation import Change
from replicate.entry.nomination import write_message
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    Attributes,
    Precondition,
    Replica,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.ports import Body, GatedBody
from replicate.protocol.replicator import Replicator
from replicate.reconcile import tally, workers
from replicate.reconcile.steps import Reconcile
from replicate.retry import DEFAULT_POLICY
from replicate.round_clock import RoundClock

BUCKET = "source"
KEYS = ("a", "a/1", "a/2", "b", "c/ü", "d", "e")
DEPTH = 3
"""Runs and steps inside each other's calls."""


class DisturbedS3(FakeS3):
    """Something may happen at each call."""

    world: "World"

    def head(self, ref: SourceRef) -> SourceObject | None:
        self.world.disturb()
        return super().head(ref)

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        self.world.disturb()
        with super().open(ref, version, span) as body:
            yield body


class DisturbedGcs(FakeGcs):
    """Something may happen at each call, and no write may take an object back."""

    world: "World"

    def head(self, name: str) -> Replica | None:
        self.world.disturb()
        return super().head(name)

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        self.world.disturb()
        before = self.objects.get(name)
        written = super().write(name, attributes, body, precondition, storage_class)
        if before:
            assert number_of(self.objects[name].data) >= number_of(before.data), "it went back"
        return written

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        self.world.disturb()
        return super().patch(name, attributes, current)

    def delete(self, name: str, precondition: Precondition) -> None:
        self.world.disturb()
        assert self.world.deletes, "deletes are not replicated"
        super().delete(name, precondition)


class Impatient(MemoryStores):
    """After a lost race the next round begins at once."""

    def replicator(self, change: Change | None = None) -> Replicator:
        clock = RoundClock(DEFAULT_POLICY, self.deadline, lambda _: None)
        return replace(super().replicator(change), clock=clock)


def number_of(data: bytes) -> int:
    """Return the number of a version by its bytes. What others write is older than everything."""
    return int(data) if data.isdigit() else -1


@dataclass
class World:
    """Both buckets, the events under way, and the reconcile."""

    seed: int
    deletes: bool
    lifecycle: bool = True
    """Whether all deletes are replicated, if any are. Else those by users are."""
    environ: dict[str, str] = field(default_factory=dict)

    events: list[object] = field(default_factory=list)
    versions: int = 0
    is_quiet: bool = False
    depth: int = 0
    kills: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - no secret
        self.s3, self.gcs = DisturbedS3(), DisturbedGcs()
        self.s3.world = self.gcs.world = self
        deletes_all = self.deletes and self.lifecycle
        flags = {
            "REPLICATE_DELETES": str(self.deletes).lower(),
            "REPLICATE_LIFECYCLE_DELETES": str(deletes_all).lower(),
        }
        stores = Impatient(s3=self.s3, gcs=self.gcs, environ=flags | self.environ)
        self.function = stores.function()
        self.machine = Machine(
            Reconcile(
                source=DisturbedListing(self.s3, page=2),
                replicas=DisturbedReplicas(self.gcs, page=2),
                reports=DisturbedReports(),
                nominations=self,
                deadline=Deadline(1e9),
                naming=Naming("replica"),
                buckets=frozenset({BUCKET}),
                replicates_all_deletes=deletes_all,
            ),
            FakeJournal(),
            self.disturb,
        )
        for port in ("source", "replicas", "reports"):
            getattr(self.machine.reconcile, port).world = self
        for key in KEYS[:5]:
            self.put(key)
        self.events.clear()  # lost: nothing is replicated yet

    def send(self, refs: Sequence[SourceRef]) -> None:
        """Store nominations, as the event queue does."""
        self.disturb()
        self.events += [json.loads(write_message(ref)) for ref in refs]
        self.disturb()

    def disturb(self) -> None:
        """Let something happen, or nothing."""
        if self.is_quiet or self.depth >= DEPTH or self.random.random() < 0.7:
            return
        self.depth += 1
        try:
            key = self.random.choice(KEYS)
            happenings: list[Callable[[str], None]] = [
                *[self.put, self.put, self.delete, self.damage, self.lose, self.kill],
                *[self.deliver] * 4,
            ]
            self.random.choice(happenings)(key)
        finally:
            self.depth -= 1

    def put(self, key: str) -> None:
        self.versions += 1
        self.s3.put(SourceRef(BUCKET, key), str(self.versions).encode())
        self.notify(key, "ObjectCreated:Put")

    def delete(self, key: str) -> None:
        self.s3.delete(SourceRef(BUCKET, key))
        self.notify(key, "ObjectRemoved:Delete")

    def damage(self, key: str) -> None:
        """Others overwrite a replica."""
        self.gcs.put(key, b"theirs", PLAIN)

    def lose(self, key: str) -> None:
        """Others delete a replica."""
        self.gcs.objects.pop(key, None)

    def kill(self, _: str) -> None:
        self.kills += 1
        raise KilledError

    def notify(self, key: str, name: str) -> None:
        """Store an event of S3, or lose it."""
        if self.random.random() < 0.5:
            return
        described = {"bucket": {"name": BUCKET}, "object": {"key": key}}
        record = {
            "eventSource": "aws:s3",
            "eventName": name,
            "eventTime": self.s3.now.isoformat(),
            "s3": described,
        }
        self.events.append({"Records": [record]})

    def deliver(self, _: str = "") -> None:
        """Deliver one of the events. It stays if it is a duplicate, or if its run is killed."""
        if not self.events:
            return
        at = self.random.randrange(len(self.events))
        event = self.events[at]
        records = [{"eventSource": "aws:sqs", "messageId": "1", "body": json.dumps(event)}]
        try:
            result = self.function.handle({"Records": records}, Context())
        except KilledError:
            return
        is_duplicated = not self.is_quiet and self.random.random() < 0.3
        if not result["batchItemFailures"] and not is_duplicated and event in self.events:
            self.events.remove(event)

    def drain(self) -> None:
        """Deliver everything, while nothing else happens."""
        self.is_quiet = True
        while self.events:
            self.deliver()

    def reconcile(self, execution: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401
        return self.machine.run(execution, **request)

    def assert_equal(self) -> None:
        for key in KEYS:
            ref = SourceRef(BUCKET, key)
            source, stored = self.s3.head(ref), self.gcs.objects.get(key)
            if source:
                assert stored
                assert stored.data == self.s3.data(ref)
            elif self.deletes:
                assert stored is None or stored.data == b"theirs"


class DisturbedListing(FakeSourceListing):
    world: World

    def _keys(self, bucket: str, prefix: str, after: str) -> list[str]:
        self.world.disturb()
        return super()._keys(bucket, prefix, after)


class DisturbedReplicas(FakeReplicaListing):
    world: World

    def _rows(self, prefix: str, after: str) -> list[Any]:
        self.world.disturb()
        return super()._rows(prefix, after)


class DisturbedReports(FakeReports):
    world: World

    def read(self, name: str) -> bytes | None:
        self.world.disturb()
        return super().read(name)

    def write(self, name: str, data: bytes, content_type: str) -> None:
        self.world.disturb()
        super().write(name, data, content_type)
        self.world.disturb()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few keys be many: shards of two, and a look at the clock after each."""
    monkeypatch.setattr(tally, "MARK_EVERY", 2)
    monkeypatch.setattr(workers, "LOOK_EVERY", 1)
    monkeypatch.setattr(workers, "PIECE_LINES", 1)


@pytest.mark.parametrize("deletes", [True, False])
def test_sides_are_equal_after_a_repair_that_everything_disturbs(*, deletes: bool) -> None:
    """The first runs are disturbed. The last one meets what they and the lost events left."""
    kills = repaired = 0
    for seed in range(10):
        world = World(seed, deletes=deletes)
        for number in range(3):
            world.reconcile(f"run-{number}", mode="repair", confirmed=True)
        world.drain()
        before = world.machine.journal.metrics[-1]
        last = world.reconcile("run-last", mode="repair", confirmed=True)
        world.drain()

        world.assert_equal()
        assert world.reconcile("run-proof")["ended"] == "equal"
        kills += world.kills
        repaired += last["counts"]["nominated"]
        assert before["compared"] > 0
    assert kills > 40
    assert repaired > 8, "the last repair had something to do"


def test_repair_of_an_empty_replica_copies_everything() -> None:
    """A back-fill is this and nothing else."""
    world = World(0, deletes=False)
    world.is_quiet = True

    assert world.reconcile("run-1", mode="repair")["ended"] == "too_many_differences"
    assert world.reconcile("run-2", mode="repair", confirmed=True)["counts"]["nominated"] == 5
    world.drain()

    world.assert_equal()
    assert world.reconcile("run-3")["ended"] == "equal"


@pytest.mark.parametrize("lifecycle", [False, True], ids=["of users", "all"])
def test_repair_brings_back_all_lost_changes_but_a_deletion_by_a_user_and_one_of_tags(
    *, lifecycle: bool
) -> None:
    """A listing shows neither who deleted a source nor its tags."""
    world = World(0, deletes=True, lifecycle=lifecycle, environ={"REPLICATE_TAGS": "metadata"})
    world.s3.reads_tags = world.is_quiet = True
    world.reconcile("run-1", mode="repair", confirmed=True)
    world.drain()
    world.delete("a")
    world.put("b")
    tagged = SourceRef(BUCKET, "c/ü")
    world.s3.set_tags(tagged, {"new": "yes"})
    world.events.clear()  # lost

    world.reconcile("run-2", mode="repair", confirmed=True)
    world.drain()

    proof = world.reconcile("run-3")
    assert (proof["ended"], proof["counts"]["extra"]) == ("equal", 0 if lifecycle else 1)
    assert ("a" in world.gcs.objects) is not lifecycle
    assert world.gcs.objects["b"].data == world.s3.data(SourceRef(BUCKET, "b"))
    assert "s3-tag-new" not in world.gcs.objects[tagged.key].replica.attributes.metadata
    world.events.append(json.loads(write_message(tagged)))
    world.drain()
    assert "s3-tag-new" in world.gcs.objects[tagged.key].replica.attributes.metadata


def test_stale_nominations_change_nothing() -> None:
    world = World(0, deletes=True)
    world.is_quiet = True
    world.reconcile("run-1", mode="repair", confirmed=True)
    stale = [*world.events]
    world.drain()
    before = dict(world.gcs.objects)

    world.events += stale
    world.drain()

    assert world.gcs.objects == before
