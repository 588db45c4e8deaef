"""Objects that are copied in parts."""

import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from builders import make_source
from fakes import FakeGcs, FakeS3, Upload, in_order

from replicate.errors import (
    DestinationUnavailableError,
    IntegrityError,
    LostRaceError,
    SourceUnavailableError,
)
from replicate.parallel import Threads
from replicate.protocol.assembly import Assembler
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    Attributes,
    Checksum,
    EtagKind,
    PartLayout,
    Precondition,
    Reason,
    Replica,
    Result,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.parts import Cut, Sizes, cut_into_parts, cut_into_slices, groups
from replicate.protocol.plan import Policy
from replicate.protocol.ports import Body, Source, Stop
from replicate.protocol.replicator import Replicator
from replicate.protocol.slices import Slices
from replicate.protocol.staged import RECORD, Job
from replicate.retry import DEFAULT_POLICY
from replicate.round_clock import RoundClock

REF = SourceRef("source", "key")
MIB = 1024 * 1024
PREFIX = ".staging/"
SIZES = Sizes(parallel_from=100, large_from=10_000, part=100, slice=2000)
DATA = bytes(range(256)) * 4


class RecordingS3(FakeS3):
    """S3 that records which ranges are read, and fails for some."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Span | None] = []
        self.fail: Callable[[Span | None], None] = lambda _: None

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        self.spans.append(span)
        self.fail(span)
        with super().open(ref, version, span) as body:
            yield body


def make_assembler(s3: Source, gcs: FakeGcs, sizes: Sizes = SIZES) -> Assembler:
    return Assembler(source=s3, destination=gcs, prefix=PREFIX, sizes=sizes, in_parallel=in_order)


def replicate(s3: Source, gcs: FakeGcs, policy: Policy | None = None) -> Result:
    return Replicator(
        source=s3,
        destination=gcs,
        naming=Naming("replica"),
        clock=RoundClock(DEFAULT_POLICY, Deadline(10), lambda _: None),
        policy=policy or Policy(),
        storage_classes={"STANDARD": "NEARLINE"},
        assembler=make_assembler(s3, gcs),
    ).replicate(REF)


def staged_names(gcs: FakeGcs) -> list[str]:
    return [name for name in gcs.objects if name.startswith(PREFIX)]


@pytest.mark.parametrize("checksum", ["CRC64NVME", "CRC32C", "CRC32"])
def test_object_is_copied_in_parts_and_checked_by_the_combined_checksum(checksum: str) -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    s3.upload(REF, Upload(data=DATA, checksum=checksum))
    result = replicate(s3, gcs)
    assert gcs.objects["key"].data == DATA
    assert gcs.objects["key"].storage_class == "NEARLINE"
    assert result.reason is Reason.CREATED
    assert result.bytes_copied == len(DATA)
    assert result.verified_by.source == checksum.lower()
    assert len(s3.spans) == 11
    assert staged_names(gcs) == []


def test_composite_checksum_is_checked_where_s3_split_the_object() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    sizes = (128,) * 8
    s3.upload(REF, Upload(data=DATA, part_sizes=sizes, checksum="SHA256"))
    result = replicate(s3, gcs)
    assert gcs.objects["key"].data == DATA
    assert result.verified_by.source == "sha256 of 8 parts"
    assert {span.start % 128 for span in s3.spans if span} == {0}


def test_etag_of_parts_is_checked_where_s3_split_the_object() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    s3.upload(REF, Upload(data=DATA, part_sizes=(300, 300, 300, 124)))
    assert replicate(s3, gcs).verified_by.source == "etag-md5 of 4 parts"
    assert gcs.objects["key"].data == DATA


def test_parts_of_unequal_size_are_reported_as_unchecked() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    sizes = (300, 200, 300, 224)
    s3.upload(REF, Upload(data=DATA, part_sizes=sizes, checksum="SHA256"))
    assert replicate(s3, gcs).verified_by.source == "unchecked: 4 parts of unequal size"
    assert gcs.objects["key"].data == DATA


def test_object_with_an_md5_alone_is_copied_in_one_stream() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    s3.upload(REF, Upload(data=DATA))
    assert replicate(s3, gcs).verified_by.source == "etag-md5"
    assert s3.spans == [None]


def test_object_without_any_checksum_is_copied_in_parts_and_reported_as_unchecked() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    s3.upload(REF, Upload(data=DATA, kms=True))
    assert replicate(s3, gcs).verified_by.source.startswith("unchecked: ")
    assert gcs.objects["key"].data == DATA
    assert None not in s3.spans


def test_object_below_the_threshold_is_copied_in_one_stream() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    s3.upload(REF, Upload(data=DATA[:99], checksum="CRC32"))
    replicate(s3, gcs)
    assert s3.spans == [None]


def test_retry_copies_only_the_parts_that_are_missing() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))

    def fail_sixth(span: Span | None) -> None:
        if span and span.start == 470:
            raise SourceUnavailableError("down")

    s3.fail = fail_sixth
    with pytest.raises(SourceUnavailableError):
        replicate(s3, gcs)
    assert len(staged_names(gcs)) == 5
    s3.fail, s3.spans = (lambda _: None), []
    replicate(s3, gcs)
    assert [span.start for span in s3.spans if span] == [470, 564, 658, 752, 846, 940]
    assert gcs.objects["key"].data == DATA
    assert staged_names(gcs) == []


def test_part_is_copied_again_when_its_recorded_checksum_is_missing() -> None:
    """A run was killed after it wrote the part and before it recorded the checksum."""
    s3, gcs = RecordingS3(), FakeGcs()
    version = s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    assembler = make_assembler(s3, gcs)
    job = assembler.job(version, "key", None)
    assert job is not None
    assembler.stage_parts(job, [0])
    name = job.names.part(0)
    stored = gcs.objects[name]
    metadata = {k: v for k, v in stored.replica.attributes.metadata.items() if k != RECORD}
    attributes = replace(stored.replica.attributes, metadata=metadata)
    gcs.objects[name] = replace(stored, replica=replace(stored.replica, attributes=attributes))
    replicate(s3, gcs)
    assert gcs.objects["key"].data == DATA


class ContestedGcs(FakeGcs):
    """GCS where another run deletes a part before its checksum is recorded, so many times."""

    def __init__(self, deletions: int) -> None:
        super().__init__()
        self.deletions = deletions

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        if self.deletions:
            self.deletions -= 1
            self.delete(name, Precondition(current.generation))
        return super().patch(name, attributes, current)


def test_runs_that_delete_the_parts_of_each_other_are_no_policy_of_gcs() -> None:
    """A policy refuses the final object. So this run goes on until its time is over."""
    s3, gcs = RecordingS3(), ContestedGcs(deletions=20)
    s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    assert replicate(s3, gcs).reason is Reason.CREATED
    assert (gcs.objects["key"].data, gcs.deletions) == (DATA, 0)


def test_wrong_bytes_in_one_part_are_never_visible() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    version = s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    wrong = replace(version, checksums=(Checksum("CRC64NVME", "AAAAAAAAAAA="),))
    s3._versions[REF][-1] = replace(s3.pinned(version), object=wrong)  # noqa: SLF001
    with pytest.raises(IntegrityError, match="crc64nvme"):
        replicate(s3, gcs)
    assert gcs.objects == {}


def discard(_: object) -> None: ...


class RacingGcs(FakeGcs):
    """GCS in which another program acts right before the last compose."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def compose(self, name: str, *arguments: object) -> Replica:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return super().compose(name, *arguments)  # type: ignore[arg-type]


def test_staged_parts_are_reused_when_the_commit_loses_a_race() -> None:
    s3 = RecordingS3()
    gcs = RacingGcs(lambda: None)
    gcs.meanwhile = lambda: discard(gcs.put("key", b"theirs"))
    s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    result = replicate(s3, gcs)
    assert result.reason is Reason.FOREIGN_OVERWRITTEN
    assert gcs.objects["key"].data == DATA
    assert len(s3.spans) == 11


def test_staged_parts_are_swept_when_their_version_is_gone() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))

    def overwrite_at_the_end(span: Span | None) -> None:
        if span and span.start == 940:
            s3.fail = lambda _: None
            s3.upload(REF, Upload(data=DATA[::-1], checksum="CRC64NVME"))

    s3.fail = overwrite_at_the_end
    result = replicate(s3, gcs)
    assert gcs.objects["key"].data == DATA[::-1]
    assert result.bytes_copied == len(DATA)
    assert staged_names(gcs) == []


def test_parts_are_swept_when_another_run_was_faster() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))

    def run_meanwhile(_: Span | None) -> None:
        s3.fail = lambda _: None
        assert replicate(s3, gcs).reason is Reason.CREATED

    s3.fail = run_meanwhile
    assert replicate(s3, gcs).reason is Reason.CURRENT
    assert gcs.objects["key"].data == DATA
    assert staged_names(gcs) == []


def test_parts_are_swept_when_the_source_changes_after_a_lost_race() -> None:
    s3, gcs = RecordingS3(), RacingGcs(lambda: None)

    def change_both_sides() -> None:
        gcs.put("key", b"theirs")
        s3.upload(REF, Upload(data=b"small"))

    gcs.meanwhile = change_both_sides
    s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    replicate(s3, gcs)
    assert gcs.objects["key"].data == b"small"
    assert staged_names(gcs) == []


def in_groups(s3: FakeS3, gcs: FakeGcs) -> tuple[Slices, Job]:
    """Return the work for an object of 128 slices: four groups."""
    sizes = Sizes(parallel_from=1, large_from=1, part=8, slice=8)
    version = s3.upload(REF, Upload(data=DATA, checksum="CRC32"))
    assembler = make_assembler(s3, gcs, sizes)
    job = assembler.job(version, "key", None, by_execution=True)
    assert job is not None
    assert (job.cut.parts, job.cut.slices) == (512, 128)
    return Slices(assembler), job


def test_slices_are_staged_separately_and_joined_once() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    slices, job = in_groups(s3, gcs)
    for number in reversed(range(job.cut.slices)):
        slices.stage(job, number)
        slices.stage(job, number)
    s3.spans.clear()
    copied = slices.join(job, "key", gcs.put("other", b"").attributes, Precondition(0))
    assert gcs.objects["key"].data == DATA
    assert (copied.replica.size, copied.verified_by) == (len(DATA), "crc32")
    assert (s3.spans, staged_names(gcs)) == ([], [])


def test_slices_are_not_sent_again_after_their_group_was_joined() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    slices, job = in_groups(s3, gcs)
    for number in range(job.cut.slices):
        slices.stage(job, number)
    attributes = gcs.put("key", b"theirs").attributes
    with pytest.raises(LostRaceError):
        slices.join(job, "key", attributes, Precondition(0))
    assert {name.rpartition("/")[2] for name in staged_names(gcs)} == {
        f"group-{number}" for number in range(4)
    }
    s3.spans.clear()
    for number in range(job.cut.slices):
        slices.stage(job, number)
    current = Precondition.unchanged(gcs.head("key"))
    slices.join(job, "key", attributes, current)
    assert (s3.spans, gcs.objects["key"].data) == ([], DATA)


def test_no_group_is_joined_while_a_slice_is_missing() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    slices, job = in_groups(s3, gcs)
    for number in range(job.cut.slices - 1):
        slices.stage(job, number)
    staged = staged_names(gcs)
    with pytest.raises(LostRaceError):
        slices.join(job, "key", gcs.put("x", b"").attributes, Precondition(0))
    assert staged_names(gcs) == staged


def test_parts_of_another_class_are_not_used_and_are_swept() -> None:
    """GCS joins objects of one class only."""
    s3, gcs = RecordingS3(), FakeGcs()
    version = s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    assembler = make_assembler(s3, gcs)
    job = assembler.job(version, "key", "COLDLINE")
    assert job
    assembler.stage_parts(job, [0, 1])
    assert replicate(s3, gcs).reason is Reason.CREATED
    assert gcs.objects["key"].storage_class == "NEARLINE"
    assembler.sweep(job.names.folder)
    assert staged_names(gcs) == []


class MisorderingGcs(FakeGcs):
    """GCS that joins the parts in another order."""

    def compose(
        self, name: str, attributes: object, components: Sequence[Replica], *rest: object
    ) -> Replica:
        return super().compose(name, attributes, components[::-1], *rest)  # type: ignore[arg-type]


def test_object_is_deleted_when_gcs_joined_its_parts_wrongly() -> None:
    s3, gcs = RecordingS3(), MisorderingGcs()
    s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    with pytest.raises(IntegrityError, match="other bytes"):
        replicate(s3, gcs)
    assert "key" not in gcs.objects


@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 1000, 4096, 100_003])
@pytest.mark.parametrize("alignment", [1, 7, 64])
@pytest.mark.parametrize("split", [cut_into_parts, cut_into_slices])
def test_parts_cover_the_object_exactly_once(
    split: Callable[[int, Sizes, int], Cut], size: int, alignment: int
) -> None:
    cut = split(size, Sizes(part=64, slice=256, max_slices=100), alignment)
    spans = [cut.part(number) for number in range(cut.parts)]
    assert spans[0].start == 0
    assert spans[-1].end == size
    assert all(one.end == other.start for one, other in pairwise(spans))
    assert all(span.size > 0 and span.start % alignment == 0 for span in spans)
    slices = [cut.span(number) for number in range(cut.slices)]
    assert (slices[0].start, slices[-1].end) == (0, size)
    assert all(one.end == other.start for one, other in pairwise(slices))
    assert [n for number in range(cut.slices) for n in cut.parts_of(number)] == [*range(cut.parts)]


def test_five_tebibytes_are_640_slices_of_8_gibibytes() -> None:
    cut = cut_into_slices(5 * 1024**4, Sizes())
    assert (cut.slices, cut.part_size, cut.parts_per_slice) == (640, 2 * 1024**3, 4)
    assert [len(group) for group in groups(cut.slices)] == [32] * 20


def test_medium_object_has_at_most_32_parts() -> None:
    assert cut_into_parts(16 * 1024**3 - 1, Sizes()).parts == 32
    assert cut_into_parts(1024**3, Sizes()).parts == 4
    assert cut_into_parts(256 * 1024**2, Sizes()).parts == 4


def test_first_error_stops_the_other_tasks() -> None:
    ran: list[int] = []

    def task(number: int) -> Callable[[Stop], int]:
        def run(_: Stop) -> int:
            ran.append(number)
            if number == 1:
                raise DestinationUnavailableError("down")
            return number

        return run

    with pytest.raises(DestinationUnavailableError):
        Threads(1)([task(number) for number in range(100)])
    assert len(ran) < 100


def test_tasks_run_at_the_same_time() -> None:
    """The barrier breaks unless both wait for each other."""
    barrier = threading.Barrier(2, timeout=10)

    def run(_: Stop) -> int:
        return barrier.wait()

    assert sorted(Threads(2)([run, run])) == [0, 1]


def test_results_are_in_the_order_of_the_tasks() -> None:
    assert Threads(4)([lambda _, number=number: number for number in range(50)]) == [*range(50)]  # type: ignore[misc]


def test_one_stream_copies_the_object_when_parts_cannot_be_deleted() -> None:
    s3, gcs = RecordingS3(), FakeGcs()
    gcs.obstacle = "gs://replica puts an event-based hold on each new object"
    s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    assert replicate(s3, gcs).reason is Reason.CREATED
    assert s3.spans == [None]


@pytest.mark.parametrize(("part_bytes", "checked"), [(64 * 1024, True), (1024, False)])
def test_checksum_of_parts_is_not_used_when_its_record_does_not_fit(
    part_bytes: int, *, checked: bool
) -> None:
    size = 1024 * part_bytes
    source = make_source(size=size, etag="0" * 32 + "-1024", etag_kind=EtagKind.MD5_OF_PARTS)
    s3 = RecordingS3()
    s3.part_layout = lambda _: PartLayout(1024, part_bytes)  # type: ignore[assignment,method-assign]
    sizes = Sizes(parallel_from=1, large_from=2, part=MIB, slice=16 * MIB)
    job = make_assembler(s3, FakeGcs(), sizes).job(source, "key", None, by_execution=True)
    assert job
    assert (job.checksum is not None) is checked


@pytest.mark.parametrize(("algorithm", "is_in_parts"), [("CRC32", True), ("SHA256", False)])
def test_object_that_only_one_stream_can_check_is_copied_in_one_stream(
    algorithm: str, *, is_in_parts: bool
) -> None:
    """SHA-256 digests of 10,000 parts of S3 do not fit into the metadata of 32 staged objects."""
    digest = base64.b64encode(bytes(4 if algorithm == "CRC32" else 32)).decode()
    checksum = Checksum(algorithm, f"{digest}-10000", composite=True)
    source = make_source(size=10_000 * MIB, checksums=(checksum,))
    s3 = RecordingS3()
    s3.part_layout = lambda _: PartLayout(10_000, MIB)  # type: ignore[assignment,method-assign]
    sizes = Sizes(large_from=source.size + 1)
    job = make_assembler(s3, FakeGcs(), sizes).job(source, "key", None)
    assert (job is not None) is is_in_parts
