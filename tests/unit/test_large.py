"""Large objects: the hand-over to an execution, and the execution's steps."""

import re
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import NoReturn

import pytest
from executions import FakeExecutions, run_machine
from fakes import FakeGcs, FakeS3, Upload, in_order

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    IntegrityError,
    LargeObjectDelayedError,
    LargeObjectError,
    SettingsError,
    SourceArchivedError,
)
from replicate.protocol.assembly import Assembler
from replicate.protocol.deadline import Deadline
from replicate.protocol.evidence import REQUEST, Deletes
from replicate.protocol.large import (
    EVENTS_PER_SLICE,
    LargeCopy,
    Planned,
    max_rounds,
)
from replicate.protocol.mapping import Naming
from replicate.protocol.model import Checksum, PartLayout, Reason, Result, SourceObject, SourceRef
from replicate.protocol.parts import Sizes
from replicate.protocol.plan import Policy
from replicate.protocol.ports import Failed, Running, Succeeded
from replicate.protocol.replicator import Replicator
from replicate.retry import DEFAULT_POLICY
from replicate.round_clock import RoundClock

REF = SourceRef("source", "key")
PREFIX = ".staging/"
SIZES = Sizes(parallel_from=50, large_from=200, part=50, slice=100)
ONE = bytes(range(256)) * 2
TWO = ONE[::-1]


@dataclass
class World:
    """Both stores, a replicator that hands large objects over, and the execution's steps."""

    s3: FakeS3 = field(default_factory=FakeS3)
    gcs: FakeGcs = field(default_factory=FakeGcs)
    executions: FakeExecutions = field(default_factory=FakeExecutions)
    policy: Policy = field(default_factory=Policy)

    @property
    def assembler(self) -> Assembler:
        return Assembler(
            source=self.s3,
            destination=self.gcs,
            prefix=PREFIX,
            sizes=SIZES,
            in_parallel=in_order,
        )

    @property
    def replicator(self) -> Replicator:
        return Replicator(
            source=self.s3,
            destination=self.gcs,
            naming=Naming("replica"),
            clock=RoundClock(DEFAULT_POLICY, Deadline(10)),
            policy=self.policy,
            assembler=self.assembler,
            executions=self.executions,
        )

    @property
    def copy(self) -> LargeCopy:
        return LargeCopy(self.replicator)

    def upload(self, data: bytes) -> None:
        self.s3.upload(REF, Upload(data=data, checksum="CRC64NVME"))

    def replicate(self, watched: str | None = None) -> Result:
        return self.replicator.replicate(REF, watched=(watched,) if watched else ())

    def data(self, name: str = "key") -> bytes | None:
        stored = self.gcs.objects.get(name)
        return stored.data if stored else None

    def staged(self) -> list[str]:
        return [name for name in self.gcs.objects if name.startswith(PREFIX)]


def test_large_object_is_handed_over_to_an_execution() -> None:
    world = World()
    world.upload(ONE)
    result = world.replicate()
    assert result.reason is Reason.STARTED
    assert result.execution is not None
    assert world.executions.started == [result.execution]
    assert world.gcs.objects == {}


@pytest.mark.parametrize("polls", [1, 5])
def test_requests_store_no_message_for_an_execution_that_runs(polls: int) -> None:
    """Each would be retried every few minutes until the end."""
    world = World()
    world.upload(ONE)
    results = [
        world.replicator.replicate(REF, evidence=REQUEST, is_request=True) for _ in range(1 + polls)
    ]
    assert [each.reason for each in results] == [Reason.STARTED, *[Reason.RUNNING] * polls]
    assert len(world.executions.watches) == 1


def test_archived_object_is_not_handed_over() -> None:
    world = World()
    world.upload(ONE)
    version = world.s3.head(REF)
    assert version
    archived = replace(version, is_archived=True)
    pinned = world.s3.pinned(version)
    world.s3._versions[REF][-1] = replace(pinned, object=archived)  # noqa: SLF001
    with pytest.raises(SourceArchivedError):
        world.replicate()
    assert (world.executions.watches, world.executions.started) == ([], [])
    world.s3._versions[REF][-1] = pinned  # noqa: SLF001 - restored
    assert world.replicate().reason is Reason.STARTED


def test_second_event_is_stored_while_the_execution_runs() -> None:
    world = World()
    world.upload(ONE)
    first, second = world.replicate(), world.replicate()
    assert second.reason is Reason.RUNNING
    assert second.execution == first.execution
    assert len(world.executions.started) == 1
    assert len(world.executions.watches) == 2


def test_watch_is_stored_again_while_the_execution_runs_even_if_both_sides_are_equal() -> None:
    """Counterexample "acknowledge when equal"."""
    world = World()
    world.upload(ONE)
    name = world.replicate().execution
    world.s3.delete(REF)
    result = world.replicate(watched=name)
    assert result.reason is Reason.RUNNING
    assert world.executions.watches == [name] * 2


def test_watch_replicates_when_the_execution_has_ended() -> None:
    world = World()
    world.upload(ONE)
    name = world.replicate().execution
    assert name
    run_machine(world.copy, REF)
    world.executions.end(name)
    assert world.replicate(watched=name).reason is Reason.CURRENT


def test_watch_of_an_execution_that_never_was_replicates_as_any_event() -> None:
    """Somebody has made up the name."""
    world = World()
    world.upload(ONE[:20])
    assert world.replicate(watched="made-up-1").reason is Reason.CREATED
    world.upload(TWO)
    started = world.replicate(watched="made-up-1")
    assert (started.reason, world.executions.started) == (Reason.STARTED, [started.execution])


def test_executions_with_a_transient_cause_pause_longer_after_each_failure() -> None:
    """So an outage costs little, and heals by itself until the event is ten days old."""
    world = World()
    world.upload(ONE)
    hours = 0
    for failures in range(1, 24):
        started = world.replicate().execution
        assert started
        hours = max(failures - 2, 0)
        world.executions.end(started, "TransientError: down", ended_s=hours * 3600 - 60)
        if hours:
            with pytest.raises(LargeObjectDelayedError, match="TransientError: down") as caught:
                world.replicate()
            assert (caught.value.retryable, caught.value.retry_after_s) == (True, 60)
            world.executions.end(started, "TransientError: down", ended_s=hours * 3600)
    assert len({name.rpartition("-")[0] for name in world.executions.started}) == 1
    assert sum(range(hours + 1)) > 9 * 24
    world.upload(TWO)
    assert world.replicate().reason is Reason.STARTED


def test_small_object_needs_no_execution() -> None:
    world = World()
    world.upload(ONE[:199])
    assert world.replicate().reason is Reason.CREATED
    assert world.executions.started == []


def test_large_object_is_copied_by_one_run_when_there_is_no_state_machine() -> None:
    world = World()
    world.upload(ONE)
    replicator = replace(world.replicator, executions=None)
    assert replicator.replicate(REF).reason is Reason.CREATED
    assert world.data() == ONE


def test_execution_stages_slices_and_joins_them() -> None:
    world = World()
    world.upload(ONE)
    result = run_machine(world.copy, REF)
    assert (result.reason, result.verified_by.source) == (Reason.CREATED, "crc64nvme")
    assert world.data() == ONE
    assert world.staged() == []
    assert world.replicate().reason is Reason.CURRENT


def test_execution_overwrites_under_the_planned_precondition() -> None:
    world = World()
    world.upload(TWO)
    run_machine(world.copy, REF)
    world.upload(ONE)
    assert run_machine(world.copy, REF).reason is Reason.OVERWRITTEN
    assert world.data() == ONE


def test_every_step_may_be_repeated() -> None:
    world = World()
    world.upload(ONE)
    copy = world.copy
    planned = copy.plan(REF, None)
    assert isinstance(planned, Planned)
    for number in [*range(planned.slices), *range(planned.slices)]:
        assert copy.stage(REF, planned, number)
    assert copy.commit(REF, planned) is not None
    assert copy.commit(REF, planned) is None
    done = copy.plan(REF, planned.version_digest)
    assert isinstance(done, Result)
    assert done.reason is Reason.CURRENT


def steps_of(world: World) -> list[str]:
    names: list[str] = []
    run_machine(world.copy, REF, names.append)
    return names


def all_steps() -> list[str]:
    world = World()
    world.upload(ONE)
    return steps_of(world)


@pytest.mark.parametrize("at", all_steps())
@pytest.mark.parametrize("deletes", Deletes)
@pytest.mark.parametrize("change", ["overwrite", "delete", "small", "metadata"])
def test_execution_ends_equal_when_the_source_changes_before_a_step(
    change: str, at: str, deletes: Deletes
) -> None:
    world = World(policy=Policy(deletes=deletes))
    world.upload(ONE)

    def meddle(step: str) -> None:
        if step != at or world.s3.head(REF) is None or meddled:
            return
        meddled.append(step)
        if change == "overwrite":
            world.upload(TWO)
        elif change == "delete":
            world.s3.delete(REF)
        elif change == "small":
            world.upload(ONE[:20])
        else:
            world.s3.upload(
                REF, Upload(data=ONE, checksum="CRC64NVME", metadata={"changed": "yes"})
            )

    meddled: list[str] = []
    run_machine(world.copy, REF, meddle)
    run_machine(world.copy, REF)
    source = world.s3.head(REF)
    assert world.data() == (world.s3.data(REF) if source else None)
    assert world.staged() == []
    if source:
        assert world.replicate().reason is Reason.CURRENT


@pytest.mark.parametrize("at", all_steps())
@pytest.mark.parametrize("change", ["overwrite", "delete"])
def test_execution_ends_equal_when_the_destination_changes_before_a_step(
    change: str, at: str
) -> None:
    world = World()
    world.gcs.put("key", b"theirs")
    world.upload(ONE)

    def meddle(step: str) -> None:
        if step == at and not meddled:
            meddled.append(step)
            world.gcs.objects.pop("key", None)
            if change == "overwrite":
                world.gcs.put("key", b"theirs again")

    meddled: list[str] = []
    run_machine(world.copy, REF, meddle)
    assert world.data() == ONE
    assert world.staged() == []


def test_execution_ends_when_another_large_version_has_replaced_its_own() -> None:
    """The new version has an execution of its own: both would copy it."""
    world = World()
    old = world.gcs.put("key", b"older")
    world.upload(ONE)
    planned = world.copy.plan(REF, None)
    assert isinstance(planned, Planned)
    assert world.copy.stage(REF, planned, 0)
    world.upload(TWO)
    ended = world.copy.plan(REF, planned.version_digest)
    assert isinstance(ended, Result)
    assert (ended.reason, ended.replica) == (Reason.SUPERSEDED, old)
    assert [*world.gcs.objects] == ["key"]
    assert world.replicate().reason is Reason.STARTED, "the message that watches this execution"


def test_object_in_parts_needs_no_slices_of_an_execution() -> None:
    world = World()
    world.upload(ONE[: SIZES.large_from - 1])
    ended = world.copy.plan(REF, None)
    assert isinstance(ended, Result)
    assert ended.reason is Reason.CREATED
    assert world.data() == ONE[: SIZES.large_from - 1]


class GrowingS3(FakeS3):
    """The object becomes a large one before the second HEAD."""

    heads = 0

    def head(self, ref: SourceRef) -> SourceObject | None:
        self.heads += 1
        if self.heads == 2:
            self.upload(REF, Upload(data=ONE, checksum="CRC64NVME"))
        return super().head(ref)


def test_object_that_becomes_a_large_one_meanwhile_is_planned_as_one() -> None:
    world = World(s3=GrowingS3())
    world.upload(b"small")
    planned = world.copy.plan(REF, None)
    assert isinstance(planned, Planned)
    assert world.gcs.objects == {}


def test_large_replica_has_the_storage_class_that_its_source_is_mapped_to() -> None:
    world = World()
    world.s3.upload(REF, Upload(data=ONE, checksum="CRC64NVME", storage_class="GLACIER_IR"))
    replicator = replace(world.replicator, storage_classes={"GLACIER_IR": "COLDLINE"})
    run_machine(LargeCopy(replicator), REF)
    assert world.gcs.objects["key"].storage_class == "COLDLINE"


def test_no_slice_is_sent_when_the_destination_is_not_as_planned() -> None:
    world = World()
    world.upload(ONE)
    planned = world.copy.plan(REF, None)
    assert isinstance(planned, Planned)
    world.gcs.put("key", b"theirs")
    assert not world.copy.stage(REF, planned, 0)
    assert world.staged() == []


EVENTS_PER_RETRY = 3
"""Those of the function, in the history of an execution."""

HISTORY_EVENTS = 25_000
"""Step Functions ends an execution that has more. Source: "Quotas" in its developer guide."""


@pytest.mark.parametrize("slices", [1, 8, 100, 285, 286, 640])
def test_rounds_fit_into_the_history_of_an_execution(slices: int) -> None:
    rounds = max_rounds(slices)
    assert 4 <= rounds <= 10
    left = HISTORY_EVENTS - rounds * slices * EVENTS_PER_SLICE
    assert left >= 3 * slices * EVENTS_PER_RETRY


class DeletingS3(FakeS3):
    """S3 in which the object is deleted when the execution has joined its slices."""

    def __init__(self, gcs: FakeGcs) -> None:
        super().__init__()
        self._gcs = gcs

    def head(self, ref: SourceRef) -> SourceObject | None:
        found = super().head(ref)
        committed = self._gcs.objects.get("key")
        if found and committed and committed.data == ONE:
            self.delete(ref)
            return None
        return found


@pytest.mark.parametrize("deletes", Deletes)
@pytest.mark.parametrize("before", [None, TWO], ids=["created", "overwritten"])
def test_commit_takes_back_what_it_created_if_deletes_are_replicated(
    before: bytes | None, deletes: Deletes
) -> None:
    """The run of the deletion may have ended before the commit, and seen nothing to delete."""
    gcs = FakeGcs()
    world = World(policy=Policy(deletes=deletes), s3=DeletingS3(gcs), gcs=gcs)
    if before:
        world.upload(before)
        run_machine(world.copy, REF)
    world.upload(ONE)
    assert run_machine(world.copy, REF).reason is Reason.SOURCE_GONE
    assert world.data() == (ONE if before or deletes is Deletes.NONE else None)


@pytest.mark.parametrize("deletes", Deletes)
def test_execution_deletes_no_replica_that_it_finds(deletes: Deletes) -> None:
    """The event that waits for it does so, if it is evidence."""
    world = World(policy=Policy(deletes=deletes))
    world.upload(ONE)
    planned = world.copy.plan(REF, None)
    assert isinstance(planned, Planned)
    run_machine(world.copy, REF)
    world.s3.delete(REF)
    done = world.copy.plan(REF, planned.version_digest)
    assert isinstance(done, Result)
    assert done.reason is Reason.SOURCE_GONE
    assert world.data() == ONE


def test_replica_of_another_version_is_not_deleted() -> None:
    world = World()
    world.upload(TWO)
    run_machine(world.copy, REF)
    world.upload(ONE)
    planned = world.copy.plan(REF, None)
    assert isinstance(planned, Planned)
    world.s3.delete(REF)
    done = world.copy.plan(REF, planned.version_digest)
    assert isinstance(done, Result)
    assert done.reason is Reason.SOURCE_GONE
    assert world.data() == TWO


def test_execution_fails_and_sweeps_when_bytes_are_wrong() -> None:
    world = World()
    world.upload(ONE)
    version = world.s3.head(REF)
    assert version
    wrong = replace(version, checksums=(Checksum("CRC64NVME", "AAAAAAAAAAA="),))
    world.s3._versions[REF][-1] = replace(world.s3.pinned(version), object=wrong)  # noqa: SLF001
    with pytest.raises(IntegrityError):
        run_machine(world.copy, REF)
    assert world.gcs.objects == {}


def test_large_object_is_rejected_when_parts_cannot_be_deleted() -> None:
    world = World()
    world.upload(ONE)
    world.gcs.obstacle = "gs://replica has a retention policy of 60 seconds"
    with pytest.raises(DestinationForbiddenError, match="retention policy of 60 seconds"):
        world.copy.plan(REF, None)
    assert world.gcs.objects == {}


class ContestedGcs(FakeGcs):
    """GCS in which another program is always faster to create a staged object, and deletes it."""

    def write(self, *_: object) -> NoReturn:
        raise DestinationChangedError


def test_slice_that_others_stage_at_the_same_time_is_planned_again() -> None:
    world = World(gcs=ContestedGcs())
    world.upload(ONE)
    planned = world.copy.plan(REF, None)
    assert isinstance(planned, Planned)
    assert not world.copy.stage(REF, planned, 0)
    assert world.copy.commit(REF, planned) is None


class OverwrittenS3(FakeS3):
    """S3 in which the version is overwritten before its part layout is read."""

    def has_layout(self, version: SourceObject, layout: PartLayout) -> bool:
        self.upload(REF, Upload(data=TWO, checksum="CRC64NVME"))
        return super().has_layout(version, layout)


def test_commit_is_planned_again_when_the_source_changes_while_its_layout_is_read() -> None:
    world = World(s3=OverwrittenS3())
    sizes = (100, 90, 100, 100, 100, 22)
    world.s3.upload(REF, Upload(data=ONE, part_sizes=sizes, checksum="SHA256"))
    planned = world.copy.plan(REF, None)
    assert isinstance(planned, Planned)
    for number in range(planned.slices):
        assert world.copy.stage(REF, planned, number)
    assert world.copy.commit(REF, planned) is None
    assert run_machine(world.copy, REF).reason is Reason.CREATED
    assert world.data() == TWO


@pytest.mark.parametrize("checksum", [None, "SHA256"], ids=["MD5", "SHA-256"])
def test_large_object_whose_checksums_cannot_be_combined_is_reported_as_unchecked(
    checksum: str | None,
) -> None:
    world = World()
    world.s3.upload(REF, Upload(data=ONE, checksum=checksum))
    result = run_machine(world.copy, REF)
    assert (result.reason, world.data()) == (Reason.CREATED, ONE)
    assert result.verified_by.source.startswith("unchecked: ")


@pytest.mark.parametrize(
    ("causes", "executions"),
    [
        (["PermanentError: source_archived: frozen"], 1),
        (["WrongBytesError: integrity: wrong"], 2),
        (["TransferError: out_of_time: slow"], 2),
        (["TransientError: down", "TransferError: out_of_time: slow"], 4),
        (["ABORTED"], 5),
        (["Lambda.Unknown: killed", "States.Timeout"], 5),
    ],
    ids=str,
)
def test_event_is_given_up_after_executions_that_cannot_help_or_transfer_in_vain(
    causes: list[str], executions: int
) -> None:
    """The last one ended a day ago: another event, or an outage, kept this event waiting."""
    world = World()
    world.upload(ONE)
    for _, cause in zip(range(executions), cycle(causes), strict=False):
        started = world.replicate().execution
        assert started
        world.executions.end(started, cause, ended_s=24 * 3600)
    with pytest.raises(LargeObjectError, match=re.escape(cause)) as caught:
        world.replicate()
    assert not caught.value.retryable
    assert (
        world.replicator.replicate(REF, evidence=REQUEST, is_request=True).reason is Reason.STARTED
    )


def test_request_is_told_of_failures_for_an_hour() -> None:
    """So one that is repeated until the object is there does not start executions without end."""
    world = World()
    world.upload(ONE)
    for ended_s in (9000, 3599):
        started = world.replicator.replicate(REF, evidence=REQUEST, is_request=True).execution
        assert started
        world.executions.end(started, "TransferError: slow", ended_s)
    with pytest.raises(LargeObjectError, match="TransferError: slow"):
        world.replicator.replicate(REF, evidence=REQUEST, is_request=True)


def test_event_waits_for_an_execution_that_was_started_after_a_failure() -> None:
    """Another event came after the failure."""
    world = World()
    world.upload(ONE)
    first = world.replicate().execution
    assert first
    world.executions.end(first, "PermanentError: denied")
    second = f"{first.rpartition('-')[0]}-2"
    world.executions.states[second] = Running()
    result = world.replicate(watched=first)
    assert (result.reason, result.execution) == (Reason.RUNNING, second)


def test_execution_that_has_succeeded_is_no_failure() -> None:
    """Somebody deletes the replica again and again, and an event copies it."""
    world = World()
    world.upload(ONE)
    for _ in range(5):
        started = world.replicate().execution
        assert started
        world.executions.states[started] = Succeeded()
    assert len(world.executions.started) == 5


def test_executions_that_ended_before_the_event_do_not_count() -> None:
    """An operator removed the cause and redrove the event."""
    world = World()
    world.upload(ONE)
    for _ in range(5):
        started = world.replicate().execution
        assert started
        old = Failed("PermanentError: denied", is_old=True)
        world.executions.states[started] = old
    assert len(world.executions.started) == 5


def test_merged_watches_return_while_any_of_their_executions_runs() -> None:
    """Counterexample "acknowledge when equal", with two executions and one batch."""
    world = World()
    world.upload(ONE)
    first = world.replicate().execution
    world.upload(TWO)
    second = world.replicate().execution
    assert first
    assert second
    world.executions.end(first)
    world.s3.delete(REF)
    world.executions.watches.clear()
    result = world.replicator.replicate(REF, watched={first, second})
    assert (result.reason, result.execution) == (Reason.RUNNING, second)
    assert world.executions.watches == [second]


def test_watch_does_not_multiply_when_executions_cannot_be_started() -> None:
    world = World()
    world.upload(ONE)
    started = world.replicate().execution
    assert started
    name = f"{started.rpartition('-')[0]}-2"
    world.executions.end(started)
    world.executions.watches = [name]

    def refuse(name: str) -> None:
        raise SettingsError(name)

    world.executions.start = refuse  # type: ignore[method-assign]
    with pytest.raises(SettingsError):
        world.replicate(watched=name)
    assert world.executions.watches == [name]
