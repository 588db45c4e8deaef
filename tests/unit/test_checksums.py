"""The commit gate verifies bytes with the best checksum that S3 has."""

import base64
import hashlib
import zlib

import pytest
from awscrt import checksums
from builders import make_source

from replicate.errors import IntegrityError
from replicate.protocol.checksums import CommitGate, encode_crc32c, source_checksum
from replicate.protocol.model import Checksum, EtagKind, PartLayout, SourceObject

DATA = bytes(range(256)) * 40


def _base64(value: int | bytes, size: int = 4) -> str:
    raw = value if isinstance(value, bytes) else value.to_bytes(size, "big")
    return base64.b64encode(raw).decode()


FULL_OBJECT = {
    "CRC32C": _base64(checksums.crc32c(DATA)),
    "CRC64NVME": _base64(checksums.crc64nvme(DATA), 8),
    "CRC32": _base64(zlib.crc32(DATA)),
    "SHA1": _base64(hashlib.sha1(DATA).digest()),  # noqa: S324 - as S3 has it
    "SHA256": _base64(hashlib.sha256(DATA).digest()),
}


class MemoryBody:
    """A body in memory. After a rewind it returns the bytes of `second`."""

    def __init__(
        self,
        source: SourceObject,
        data: bytes,
        second: bytes | None = None,
        part_sizes: tuple[int, ...] = (),
    ) -> None:
        self.object = source
        self.part_sizes = part_sizes
        self.layout_requests = 0
        self._data = data
        self._second = second or data
        self._position = 0

    def readinto(self, buffer: memoryview) -> int:
        chunk = self._data[self._position : self._position + len(buffer)]
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def rewind(self, offset: int) -> None:
        self._position = offset
        self._data = self._second

    def part_layout(self, version: SourceObject) -> PartLayout | None:
        """Return the number of parts and the size of the first, as S3 reports them."""
        assert version == self.object
        self.layout_requests += 1
        return PartLayout(len(self.part_sizes), self.part_sizes[0]) if self.part_sizes else None

    def has_layout(self, version: SourceObject, layout: PartLayout) -> bool:
        assert version == self.object
        return all(size == layout.size for size in self.part_sizes[:-1])


def gate(body: MemoryBody) -> CommitGate:
    return CommitGate(body, body)


def read(body: CommitGate, chunk_bytes: int = 1000) -> bytes:
    buffer = memoryview(bytearray(chunk_bytes))
    chunks = []
    while count := body.readinto(buffer):
        chunks.append(bytes(buffer[:count]))
    return b"".join(chunks)


def source_with(
    *found: Checksum, etag: str = "x-2", etag_kind: EtagKind = EtagKind.OPAQUE
) -> SourceObject:
    return make_source(size=len(DATA), checksums=found, etag=etag, etag_kind=etag_kind)


@pytest.mark.parametrize("algorithm", FULL_OBJECT)
def test_matching_bytes_are_verified_by_the_named_checksum(algorithm: str) -> None:
    body = gate(MemoryBody(source_with(Checksum(algorithm, FULL_OBJECT[algorithm])), DATA))
    assert read(body) == DATA
    body.verify()
    assert body.verified_by == algorithm.lower()
    assert body.crc32c == checksums.crc32c(DATA)


@pytest.mark.parametrize("algorithm", FULL_OBJECT)
@pytest.mark.parametrize("at", [0, len(DATA) // 2, len(DATA) - 1])
def test_wrong_byte_is_detected_at_any_position(algorithm: str, at: int) -> None:
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    source = source_with(Checksum(algorithm, FULL_OBJECT[algorithm]))
    body = gate(MemoryBody(source, bytes(wrong)))
    read(body)
    with pytest.raises(IntegrityError, match=f"do not match the {algorithm.lower()}"):
        body.verify()


def test_etag_md5_is_used_when_there_is_no_checksum() -> None:
    md5 = hashlib.md5(DATA).hexdigest()  # noqa: S324 - as S3 has it
    good = gate(MemoryBody(source_with(etag=md5, etag_kind=EtagKind.MD5), DATA))
    read(good)
    good.verify()
    assert good.verified_by == "etag-md5"
    bad = gate(MemoryBody(source_with(etag="0" * 32, etag_kind=EtagKind.MD5), DATA))
    read(bad)
    with pytest.raises(IntegrityError) as caught:
        bad.verify()
    assert caught.value.message == (
        "The bytes of s3://source/key do not match the etag-md5 that S3 stores for them:"
        f" {md5} instead of {'0' * 32}. Nothing was written. Try again. If the error stays, check"
        " the object in S3."
    )


EVEN = (4000, 4000, 2240)
UNEVEN = (4000, 3000, 3240)


def chunks(part_sizes: tuple[int, ...]) -> list[bytes]:
    starts = [sum(part_sizes[:number]) for number in range(len(part_sizes))]
    return [DATA[start : start + size] for start, size in zip(starts, part_sizes, strict=True)]


def composite_checksum(part_sizes: tuple[int, ...]) -> Checksum:
    """Return the CRC32 of the parts' CRC32s, as S3 computes it for a multipart upload."""
    digests = b"".join(zlib.crc32(chunk).to_bytes(4, "big") for chunk in chunks(part_sizes))
    return Checksum("CRC32", f"{_base64(zlib.crc32(digests))}-{len(part_sizes)}", composite=True)


def multipart_etag(part_sizes: tuple[int, ...]) -> str:
    digests = b"".join(hashlib.md5(chunk).digest() for chunk in chunks(part_sizes))  # noqa: S324
    return f"{hashlib.md5(digests).hexdigest()}-{len(part_sizes)}"  # noqa: S324


@pytest.mark.parametrize("step", [1, 999, 4000, 5000, 20_000])
def test_composite_checksum_is_verified_part_by_part(step: int) -> None:
    body = gate(MemoryBody(source_with(composite_checksum(EVEN)), DATA, part_sizes=EVEN))
    read(body, step)
    body.verify()
    assert body.verified_by == "crc32 of 3 parts"


def test_multipart_etag_is_used_when_there_is_no_checksum() -> None:
    source = make_source(size=len(DATA), etag=multipart_etag(EVEN), etag_kind=EtagKind.MD5_OF_PARTS)
    body = gate(MemoryBody(source, DATA, part_sizes=EVEN))
    read(body)
    body.verify()
    assert body.verified_by == "etag-md5 of 3 parts"


@pytest.mark.parametrize("at", [0, 3999, 4000, len(DATA) - 1])
def test_wrong_byte_is_detected_in_any_part(at: int) -> None:
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    body = gate(MemoryBody(source_with(composite_checksum(EVEN)), bytes(wrong), part_sizes=EVEN))
    read(body)
    with pytest.raises(IntegrityError, match="crc32 of 3 parts"):
        body.verify()


def test_parts_of_unequal_size_are_reported_unchecked_without_an_error() -> None:
    body = gate(MemoryBody(source_with(composite_checksum(UNEVEN)), DATA, part_sizes=UNEVEN))
    read(body)
    body.verify()
    assert body.verified_by == "unchecked: 3 parts of unequal size"


def test_empty_upload_in_one_part_is_verified() -> None:
    empty = zlib.crc32(b"").to_bytes(4, "big")
    composite = Checksum("CRC32", f"{_base64(zlib.crc32(empty))}-1", composite=True)
    source = make_source(size=0, checksums=(composite,))
    body = gate(MemoryBody(source, b"", part_sizes=(0,)))
    body.verify()
    assert body.verified_by == "crc32 of 1 parts"


@pytest.mark.parametrize("part_sizes", [(len(DATA),), (5120, 5120), (len(DATA) - 1, 1)])
def test_last_part_may_have_any_size_up_to_that_of_the_others(part_sizes: tuple[int, ...]) -> None:
    body = gate(
        MemoryBody(source_with(composite_checksum(part_sizes)), DATA, part_sizes=part_sizes)
    )
    read(body)
    body.verify()
    assert body.verified_by == f"crc32 of {len(part_sizes)} parts"


@pytest.mark.parametrize(
    "part_sizes", [(0, len(DATA), 0), (0, 0, len(DATA)), (5120, 5120, 0), (2000,) * 3, (4000,)]
)
def test_parts_that_do_not_add_up_to_the_object_are_unchecked(part_sizes: tuple[int, ...]) -> None:
    """An empty part cannot be located from the bytes."""
    whole = Checksum("CRC32", f"{_base64(zlib.crc32(DATA))}-{len(part_sizes)}", composite=True)
    body = gate(MemoryBody(source_with(whole), DATA, part_sizes=part_sizes))
    assert body.verified_by == f"unchecked: crc32 over {len(part_sizes)} parts of unequal size"


def test_composite_checksum_is_unchecked_when_the_part_layout_is_unknown() -> None:
    body = gate(MemoryBody(source_with(composite_checksum(EVEN)), DATA))
    read(body)
    body.verify()
    assert body.verified_by.startswith("unchecked")


def test_object_without_a_checksum_is_reported_unchecked() -> None:
    body = MemoryBody(source_with(), DATA)
    assert (
        source_checksum(body.object, body).name
        == "unchecked: S3 has no checksum that can be computed"
    )
    assert body.layout_requests == 0  # each is a request to S3


def test_part_layout_is_read_once_for_a_composite_checksum() -> None:
    body = MemoryBody(source_with(composite_checksum(EVEN)), DATA, part_sizes=EVEN)
    source_checksum(body.object, body)
    assert body.layout_requests == 1


def test_unknown_algorithm_is_not_used() -> None:
    unknown = MemoryBody(source_with(Checksum("XXHASH3", "AAAA")), DATA)
    assert source_checksum(unknown.object, unknown).start is None


def test_cheapest_full_object_checksum_is_preferred() -> None:
    found = [Checksum(name, value) for name, value in reversed(FULL_OBJECT.items())]
    body = MemoryBody(source_with(*found), DATA)
    assert source_checksum(body.object, body).name == "crc32c"


def test_missing_bytes_are_detected_without_a_checksum() -> None:
    body = gate(MemoryBody(source_with(), DATA[:-1]))
    read(body)
    with pytest.raises(IntegrityError) as caught:
        body.verify()
    assert caught.value.message == (
        f"S3 sent {len(DATA) - 1} of the {len(DATA)} bytes of s3://source/key."
        " Nothing was written; try again."
    )


@pytest.mark.parametrize("offset", [0, 1, 999, 1000, 4321, len(DATA)])
def test_bytes_read_again_after_a_rewind_are_hashed_once(offset: int) -> None:
    source = source_with(Checksum("CRC64NVME", FULL_OBJECT["CRC64NVME"]))
    body = gate(MemoryBody(source, DATA))
    buffer = memoryview(bytearray(5000))
    body.readinto(buffer)
    body.rewind(min(offset, 5000))
    assert read(body) == DATA[min(offset, 5000) :]
    body.verify()
    assert body.crc32c == checksums.crc32c(DATA)


def test_crc32c_of_the_first_reading_is_kept_when_the_second_differs() -> None:
    """GCS gets the CRC32C of the verified bytes, so it rejects different ones."""
    source = source_with(Checksum("CRC64NVME", FULL_OBJECT["CRC64NVME"]))
    body = gate(MemoryBody(source, DATA, second=bytes(len(DATA))))
    read(body)
    body.rewind(0)
    sent = read(body)
    body.verify()
    assert checksums.crc32c(sent) != body.crc32c == checksums.crc32c(DATA)


def test_empty_object_is_verified_by_its_checksum() -> None:
    source = make_source(size=0, checksums=(Checksum("CRC64NVME", "AAAAAAAAAAA="),))
    body = gate(MemoryBody(source, b""))
    assert read(body) == b""
    body.verify()
    assert encode_crc32c(body.crc32c) == "AAAAAA=="
