"""Which bytes travel compressed, and what becomes visible of them."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import shake_128

import pytest
from builders import make_source
from fakes import CountingS3, FakeGcs, FakeS3, Upload, compressed_size, in_order

from replicate.errors import DestinationChangedError, DestinationForbiddenError, IntegrityError
from replicate.protocol.assembly import Assembler
from replicate.protocol.compression import PROBE_BYTES, Probe, may_shrink
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import (
    Expectation,
    Precondition,
    Reason,
    Replica,
    Result,
    SourceRef,
)
from replicate.protocol.parts import Sizes
from replicate.protocol.plan import Policy
from replicate.protocol.replicator import Replicator
from replicate.protocol.slices import Slices
from replicate.protocol.staged import RANGE, SENT
from replicate.retry import DEFAULT_POLICY
from replicate.round_clock import RoundClock

REF = SourceRef("source", "key")
PREFIX = ".staging/"
IN_PARTS = Sizes(parallel_from=4000, large_from=4000, part=1000, slice=2000, compress_from=1000)
IN_ONE_STREAM = replace(IN_PARTS, parallel_from=10**6, large_from=10**6)
TEXT = b"one line of a log, as the next one\n" * 200
NOISE = shake_128(b"noise").digest(len(TEXT))


class ObservedGcs(FakeGcs):
    """GCS that records under which names plain and compressed bytes arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.plain: list[str] = []
        self.compressed: list[str] = []

    def write(self, name: str, *arguments: object) -> Replica:
        self.plain.append(name)
        return super().write(name, *arguments)  # type: ignore[arg-type]

    def write_compressed(self, name: str, *arguments: object) -> tuple[Replica, int]:
        self.compressed.append(name)
        return super().write_compressed(name, *arguments)  # type: ignore[arg-type]


def make_replicator(s3: FakeS3, gcs: FakeGcs, sizes: Sizes) -> Replicator:
    return Replicator(
        source=s3,
        destination=gcs,
        naming=Naming("replica"),
        clock=RoundClock(DEFAULT_POLICY, Deadline(10)),
        policy=Policy(),
        storage_classes={"STANDARD": "STANDARD", "STANDARD_IA": "NEARLINE", "GLACIER": "ARCHIVE"},
        assembler=Assembler(
            source=s3,
            destination=gcs,
            prefix=PREFIX,
            sizes=sizes,
            in_parallel=in_order,
            compressed_size=compressed_size,
        ),
    )


def replicate(
    s3: FakeS3,
    gcs: FakeGcs,
    sizes: Sizes = IN_ONE_STREAM,
    expectation: Expectation = Expectation.UNKNOWN,
) -> Result:
    return make_replicator(s3, gcs, sizes).replicate(REF, expectation)


@pytest.fixture
def s3() -> CountingS3:
    return CountingS3()


@pytest.fixture
def gcs() -> ObservedGcs:
    return ObservedGcs()


@pytest.mark.parametrize("expectation", Expectation)
def test_one_stream_travels_compressed_by_way_of_a_staged_object(
    s3: CountingS3, gcs: ObservedGcs, expectation: Expectation
) -> None:
    s3.upload(REF, Upload(data=TEXT, content_type="text/plain"))
    result = replicate(s3, gcs, expectation=expectation)
    assert (result.reason, result.verified_by.source) == (Reason.CREATED, "etag-md5")
    assert (result.bytes_copied, result.bytes_sent) == (len(TEXT), compressed_size_of(TEXT))
    assert (gcs.objects["key"].data, gcs.objects["key"].storage_class) == (TEXT, "STANDARD")
    assert gcs.objects["key"].replica.attributes.content_type == "text/plain"
    assert list(gcs.objects) == ["key"]
    assert gcs.plain == []
    assert [name.startswith(PREFIX) for name in gcs.compressed] == [True]
    assert s3.gets == 1


def compressed_size_of(data: bytes) -> int:
    return compressed_size(memoryview(data))


def test_bytes_that_do_not_shrink_are_written_at_once_and_read_once(
    s3: CountingS3, gcs: ObservedGcs
) -> None:
    s3.upload(REF, Upload(data=NOISE))
    result = replicate(s3, gcs)
    assert (result.bytes_sent, gcs.plain, gcs.compressed) == (len(NOISE), ["key"], [])
    assert (gcs.objects["key"].data, s3.gets) == (NOISE, 1)


@pytest.mark.parametrize(
    "upload",
    [
        Upload(data=TEXT[:999]),
        Upload(data=TEXT, content_type="application/zip"),
        Upload(data=TEXT, content_encoding="gzip"),
    ],
)
def test_small_or_compressed_objects_are_not_even_probed(
    s3: CountingS3, gcs: ObservedGcs, upload: Upload
) -> None:
    s3.upload(REF, upload)
    assert (replicate(s3, gcs).reason, gcs.compressed) == (Reason.CREATED, [])


def test_object_travels_as_it_is_where_nothing_can_be_staged(
    s3: CountingS3, gcs: ObservedGcs
) -> None:
    gcs.obstacle = "gs://replica puts an event-based hold on each new object"
    s3.upload(REF, Upload(data=TEXT))
    assert replicate(s3, gcs).bytes_sent == len(TEXT)
    assert (gcs.plain, gcs.objects["key"].data) == (["key"], TEXT)


@pytest.mark.parametrize("storage_class", ["STANDARD_IA", "GLACIER"])
def test_one_stream_is_not_staged_where_each_object_is_billed_for_a_month_or_more(
    s3: CountingS3, gcs: ObservedGcs, storage_class: str
) -> None:
    """Parts are compressed there, too: they are staged in any case."""
    s3.upload(REF, Upload(data=TEXT, storage_class=storage_class))
    assert replicate(s3, gcs).bytes_sent == len(TEXT)
    assert (gcs.plain, gcs.compressed) == (["key"], [])
    s3.upload(REF, Upload(data=TEXT[::-1], storage_class=storage_class, checksum="CRC32C"))
    assert replicate(s3, gcs, IN_PARTS).bytes_sent < len(TEXT)


@pytest.mark.parametrize(("size", "is_compressed"), [(2**20 - 1, False), (2**20, True)])
def test_objects_from_a_mebibyte_on_are_compressed(
    s3: CountingS3, gcs: ObservedGcs, size: int, *, is_compressed: bool
) -> None:
    assert Sizes().compress_from == 2**20
    s3.upload(REF, Upload(data=bytes(size)))
    replicate(s3, gcs, Sizes())
    assert (gcs.plain == [], len(gcs.compressed)) == (is_compressed, is_compressed)


def test_each_part_travels_as_its_own_bytes_suggest(s3: CountingS3, gcs: ObservedGcs) -> None:
    s3.upload(REF, Upload(data=TEXT + NOISE, checksum="CRC64NVME"))
    result = replicate(s3, gcs, IN_PARTS)
    assert gcs.objects["key"].data == TEXT + NOISE
    assert list(gcs.objects) == ["key"]
    assert len(gcs.plain) == len(gcs.compressed) == 7
    assert len(NOISE) < result.bytes_sent < len(NOISE) + len(TEXT) // 5
    assert s3.gets == 14


@pytest.mark.parametrize("checksum", ["CRC64NVME", "CRC32C"])
def test_execution_sums_up_what_its_slices_sent(
    s3: CountingS3, gcs: ObservedGcs, checksum: str
) -> None:
    source = s3.upload(REF, Upload(data=TEXT, checksum=checksum))
    replicator = make_replicator(s3, gcs, IN_PARTS)
    slices = Slices(replicator.assembler)
    job = replicator.assembler.job(source, "key", None, by_execution=True)
    assert job
    for number in range(job.cut.slices):
        slices.stage(job, number)
    sent = [int(gcs.objects[name].replica.attributes.metadata[SENT]) for name in gcs.objects]
    copied = slices.join(job, "key", gcs.put("x", b"").attributes, Precondition(0))
    assert copied.bytes_sent == sum(sent) < len(TEXT)
    assert gcs.objects["key"].data == TEXT


class KilledError(BaseException):
    """Ends a run as a killed process does."""


class WrongGcs(ObservedGcs):
    """GCS that makes other bytes of a compressed upload. The run is killed before it notices."""

    is_wrong = True

    def write_compressed(self, name: str, *arguments: object) -> tuple[Replica, int]:
        written, sent = super().write_compressed(name, *arguments)
        if not self.is_wrong:
            return written, sent
        self.put(name, b"?" * written.size, written.attributes)
        self.is_wrong = False
        raise KilledError


@pytest.mark.parametrize("sizes", [IN_ONE_STREAM, IN_PARTS])
@pytest.mark.parametrize("checksum", ["CRC32C", "CRC64NVME", "SHA256", None])
def test_part_that_was_not_compared_is_never_used(
    s3: CountingS3, checksum: str | None, sizes: Sizes
) -> None:
    """Also where no checksum of S3 would tell."""
    gcs = WrongGcs()
    s3.upload(REF, Upload(data=TEXT, checksum=checksum, kms=checksum is None))
    with pytest.raises(KilledError):
        replicate(s3, gcs, sizes)
    assert [RANGE in each.replica.attributes.metadata for each in gcs.objects.values()] == [False]
    assert replicate(s3, gcs, sizes).reason is Reason.CREATED
    assert gcs.objects["key"].data == TEXT
    assert list(gcs.objects) == ["key"]


def test_wrong_bytes_of_one_stream_are_never_visible(s3: CountingS3, gcs: ObservedGcs) -> None:
    version = s3.upload(REF, Upload(data=TEXT))
    wrong = replace(version, etag="0" * 32)
    s3._versions[REF][-1] = replace(s3.pinned(version), object=wrong)  # noqa: SLF001
    with pytest.raises(IntegrityError, match="etag-md5"):
        replicate(s3, gcs)
    assert gcs.objects == {}


def test_refusal_of_every_new_object_is_a_permanent_failure(s3: CountingS3) -> None:
    """GCS returns 412 for policies, too."""

    class RefusingGcs(ObservedGcs):
        def require(self, name: str, *_: object) -> None:
            raise DestinationChangedError(name)

    gcs = RefusingGcs()
    s3.upload(REF, Upload(data=TEXT))
    with pytest.raises(DestinationForbiddenError, match="policy"):
        replicate(s3, gcs)
    assert len(gcs.compressed) == 1


def test_staged_object_of_another_run_is_left_alone(s3: CountingS3, gcs: ObservedGcs) -> None:
    """It is about to join it. If it was killed instead, what it left is swept."""

    class KilledGcs(ObservedGcs):
        def compose(self, *_: object) -> Replica:
            raise KilledError

    killed = KilledGcs()
    s3.upload(REF, Upload(data=TEXT))
    with pytest.raises(KilledError):
        replicate(s3, killed)
    gcs.objects = killed.objects
    gcs.next_generation = killed.next_generation
    assert replicate(s3, gcs).reason is Reason.CREATED
    assert (gcs.plain, gcs.compressed) == (["key"], [])
    assert list(gcs.objects) == ["key"]


class RacingGcs(ObservedGcs):
    """GCS in which another program writes the object right before the compose."""

    def compose(self, name: str, *arguments: object) -> Replica:
        if name not in self.objects:
            self.put(name, b"theirs")
        return super().compose(name, *arguments)  # type: ignore[arg-type]


def test_staged_object_that_is_gone_does_not_count_as_a_refusal(s3: CountingS3) -> None:
    """Nor does one lost race after it, although no object is there then, either."""

    class SweptGcs(ObservedGcs):
        def compose(self, *arguments: object) -> Replica:
            self.objects.clear()
            return super().compose(*arguments)  # type: ignore[arg-type]

        def write(self, *arguments: object) -> Replica:
            if not self.plain:
                self.plain.append("lost")
                raise DestinationChangedError
            return super().write(*arguments)  # type: ignore[arg-type]

    gcs = SweptGcs()
    s3.upload(REF, Upload(data=TEXT))
    assert replicate(s3, gcs).reason is Reason.CREATED
    assert (gcs.plain, gcs.objects["key"].data) == (["lost", "key"], TEXT)


def test_lost_race_writes_nothing_and_leaves_nothing(s3: CountingS3) -> None:
    gcs = RacingGcs()
    s3.upload(REF, Upload(data=TEXT))
    result = replicate(s3, gcs)
    assert result.reason is Reason.FOREIGN_OVERWRITTEN
    assert (gcs.objects["key"].data, list(gcs.objects)) == (TEXT, ["key"])
    both = compressed_size_of(TEXT) + len(TEXT)
    assert (result.bytes_copied, result.bytes_sent) == (len(TEXT), both)


def test_staged_object_is_swept_when_another_run_was_faster(s3: CountingS3) -> None:
    class FasterGcs(ObservedGcs):
        def compose(self, name: str, *arguments: object) -> Replica:
            make_replicator(s3, other, IN_ONE_STREAM).replicate(REF)
            self.objects["key"] = other.objects["key"]
            return super().compose(name, *arguments)  # type: ignore[arg-type]

    gcs, other = FasterGcs(), FakeGcs()
    other.next_generation = 1000
    s3.upload(REF, Upload(data=TEXT))
    assert replicate(s3, gcs).reason is Reason.CURRENT
    assert list(gcs.objects) == ["key"]


@pytest.mark.parametrize(
    ("content_type", "content_encoding", "shrinks"),
    [
        (None, None, True),
        ("binary/octet-stream", "", True),
        ("application/json; charset=utf-8", "aws-chunked", True),
        ("image/svg+xml", None, True),
        ("image/bmp", None, True),
        ("application/pdf", None, True),
        ("image/jpeg", None, False),
        ("VIDEO/MP4", None, False),
        ("font/woff2", None, False),
        ("application/x-gzip; x=y", None, False),
        ("application/vnd.apache.parquet", None, False),
        ("text/csv", "GZIP", False),
        ("text/csv", "aws-chunked, zstd", False),
        ("text/csv", "br", False),
    ],
)
def test_description_tells_what_is_compressed_already(
    content_type: str | None, content_encoding: str | None, *, shrinks: bool
) -> None:
    source = make_source(content_type=content_type, content_encoding=content_encoding)
    assert may_shrink(source) is shrinks


class TestProbe:
    @pytest.fixture
    def data(self) -> bytes:
        return shake_128(b"data").digest(PROBE_BYTES + 1000)

    @pytest.fixture
    def probe(self, s3: CountingS3, data: bytes) -> Iterator[Probe]:
        s3.put(REF, data)
        with s3.open(REF) as body:
            assert body
            yield Probe(body, len(data), compressed_size)

    @pytest.mark.parametrize("piece", [1000, 4096, PROBE_BYTES, 2 * PROBE_BYTES])
    def test_passes_all_bytes_on(self, probe: Probe, data: bytes, piece: int) -> None:
        assert read(probe, piece) == data
        assert not probe.shrinks

    @pytest.mark.parametrize("read_before", [0, 10, PROBE_BYTES, PROBE_BYTES + 10])
    @pytest.mark.parametrize("offset", [0, 5, PROBE_BYTES, PROBE_BYTES + 5])
    def test_continues_where_it_is_rewound_to(
        self, probe: Probe, data: bytes, read_before: int, offset: int
    ) -> None:
        probe.readinto(memoryview(bytearray(read_before)))
        probe.rewind(offset)
        assert read(probe, 70_000) == data[offset:]

    def test_does_not_read_the_first_bytes_again(self, s3: CountingS3, probe: Probe) -> None:
        probe.readinto(memoryview(bytearray(10)))
        s3.put(REF, b"another version")
        probe.rewind(0)
        assert probe.readinto(memoryview(bytearray(PROBE_BYTES))) == PROBE_BYTES

    @pytest.mark.parametrize(("size", "shrinks"), [(909, True), (910, False)])
    def test_asks_for_a_ratio(self, s3: CountingS3, size: int, *, shrinks: bool) -> None:
        s3.put(REF, bytes(1000))
        with s3.open(REF) as body:
            assert body
            assert Probe(body, 1000, lambda _: size).shrinks is shrinks


def read(body: Probe, piece: int) -> bytes:
    data, buffer = bytearray(), memoryview(bytearray(piece))
    while count := body.readinto(buffer):
        data += buffer[:count]
    return bytes(data)
