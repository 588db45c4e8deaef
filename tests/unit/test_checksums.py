"""Checks on the bytes, whatever S3 has to check them with."""

import base64
import hashlib
import zlib

import pytest
from awscrt import checksums
from builders import a_source

from replicate.errors import IntegrityError
from replicate.protocol.checksums import CommitGate, encode_crc32c, source_checksum
from replicate.protocol.model import Checksum, PartLayout, SourceObject

DATA = bytes(range(256)) * 40


def _base64(value: int | bytes, size: int = 4) -> str:
    raw = value if isinstance(value, bytes) else value.to_bytes(size, "big")
    return base64.b64encode(raw).decode()


WHOLE = {
    "CRC32C": _base64(checksums.crc32c(DATA)),
    "CRC64NVME": _base64(checksums.crc64nvme(DATA), 8),
    "CRC32": _base64(zlib.crc32(DATA)),
    "SHA1": _base64(hashlib.sha1(DATA).digest()),  # noqa: S324 - as S3 has it
    "SHA256": _base64(hashlib.sha256(DATA).digest()),
}


class MemoryBody:
    """Bytes in memory; `second` is what is there to be read after a rewind."""

    def __init__(
        self,
        source: SourceObject,
        data: bytes,
        second: bytes | None = None,
        cut: tuple[int, ...] = (),
    ) -> None:
        self.object = source
        self.cut = cut
        self.layouts_asked_for = 0
        self._data = data
        self._second = second or data
        self._position = 0

    def readinto(self, buffer: memoryview) -> int:
        piece = self._data[self._position : self._position + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def rewind(self, offset: int) -> None:
        self._position = offset
        self._data = self._second

    def part_layout(self, version: SourceObject) -> PartLayout | None:
        """By the first part, as S3 tells it."""
        assert version == self.object
        self.layouts_asked_for += 1
        return PartLayout(len(self.cut), self.cut[0]) if self.cut else None

    def has_layout(self, version: SourceObject, layout: PartLayout) -> bool:
        assert version == self.object
        return all(size == layout.size for size in self.cut[:-1])


def gate(body: MemoryBody) -> CommitGate:
    return CommitGate(body, body)


def read(body: CommitGate, piece: int = 1000) -> bytes:
    buffer = memoryview(bytearray(piece))
    pieces = []
    while count := body.readinto(buffer):
        pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def a_source_with(*found: Checksum, etag: str = "x-2", etag_is_md5: bool = False) -> SourceObject:
    return a_source(size=len(DATA), checksums=found, etag=etag, etag_is_md5=etag_is_md5)


@pytest.mark.parametrize("algorithm", WHOLE)
def test_bytes_that_match_s3s_checksum_pass_and_say_which_it_was(algorithm: str) -> None:
    body = gate(MemoryBody(a_source_with(Checksum(algorithm, WHOLE[algorithm])), DATA))
    assert read(body) == DATA
    body.verify()
    assert body.verified_by == algorithm.lower()
    assert body.crc32c == checksums.crc32c(DATA)


@pytest.mark.parametrize("algorithm", WHOLE)
@pytest.mark.parametrize("at", [0, len(DATA) // 2, len(DATA) - 1])
def test_one_wrong_byte_anywhere_is_found(algorithm: str, at: int) -> None:
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    source = a_source_with(Checksum(algorithm, WHOLE[algorithm]))
    body = gate(MemoryBody(source, bytes(wrong)))
    read(body)
    with pytest.raises(IntegrityError, match=f"do not match the {algorithm.lower()}"):
        body.verify()


def test_the_md5_in_an_etag_serves_where_there_is_nothing_else() -> None:
    md5 = hashlib.md5(DATA).hexdigest()  # noqa: S324 - as S3 has it
    good = gate(MemoryBody(a_source_with(etag=md5, etag_is_md5=True), DATA))
    read(good)
    good.verify()
    assert good.verified_by == "etag-md5"
    bad = gate(MemoryBody(a_source_with(etag="0" * 32, etag_is_md5=True), DATA))
    read(bad)
    with pytest.raises(IntegrityError) as found:
        bad.verify()
    assert found.value.message == (
        "The bytes of s3://source/key do not match the etag-md5 that S3 stores for them:"
        f" {md5} instead of {'0' * 32}. Nothing was written. Try again. If the error stays, check"
        " the object in S3."
    )


EVEN = (4000, 4000, 2240)
UNEVEN = (4000, 3000, 3240)


def pieces(cut: tuple[int, ...]) -> list[bytes]:
    starts = [sum(cut[:number]) for number in range(len(cut))]
    return [DATA[start : start + size] for start, size in zip(starts, cut, strict=True)]


def a_composite(cut: tuple[int, ...]) -> Checksum:
    """The CRC32 of the parts' CRC32s, as S3 computes it when a multipart upload is completed."""
    digests = b"".join(zlib.crc32(piece).to_bytes(4, "big") for piece in pieces(cut))
    return Checksum("CRC32", f"{_base64(zlib.crc32(digests))}-{len(cut)}", composite=True)


def an_etag_of_parts(cut: tuple[int, ...]) -> str:
    digests = b"".join(hashlib.md5(piece).digest() for piece in pieces(cut))  # noqa: S324
    return f"{hashlib.md5(digests).hexdigest()}-{len(cut)}"  # noqa: S324


@pytest.mark.parametrize("step", [1, 999, 4000, 5000, 20_000])
def test_a_composite_checksum_is_checked_part_by_part(step: int) -> None:
    body = gate(MemoryBody(a_source_with(a_composite(EVEN)), DATA, cut=EVEN))
    read(body, step)
    body.verify()
    assert body.verified_by == "crc32 of 3 parts"


def test_an_etag_of_parts_serves_where_there_is_nothing_else() -> None:
    source = a_source(size=len(DATA), etag=an_etag_of_parts(EVEN), etag_is_md5_of_parts=True)
    body = gate(MemoryBody(source, DATA, cut=EVEN))
    read(body)
    body.verify()
    assert body.verified_by == "etag-md5 of 3 parts"


@pytest.mark.parametrize("at", [0, 3999, 4000, len(DATA) - 1])
def test_one_wrong_byte_in_any_part_is_found(at: int) -> None:
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    body = gate(MemoryBody(a_source_with(a_composite(EVEN)), bytes(wrong), cut=EVEN))
    read(body)
    with pytest.raises(IntegrityError, match="crc32 of 3 parts"):
        body.verify()


def test_parts_of_unequal_size_are_said_to_be_unchecked_and_are_no_error() -> None:
    body = gate(MemoryBody(a_source_with(a_composite(UNEVEN)), DATA, cut=UNEVEN))
    read(body)
    body.verify()
    assert body.verified_by == "unchecked: 3 parts of unequal size"


def test_an_empty_upload_in_one_part_is_checked() -> None:
    empty = zlib.crc32(b"").to_bytes(4, "big")
    composite = Checksum("CRC32", f"{_base64(zlib.crc32(empty))}-1", composite=True)
    source = a_source(size=0, checksums=(composite,), etag_is_md5=False)
    body = gate(MemoryBody(source, b"", cut=(0,)))
    body.verify()
    assert body.verified_by == "crc32 of 1 parts"


@pytest.mark.parametrize("cut", [(len(DATA),), (5120, 5120), (len(DATA) - 1, 1)])
def test_the_last_part_may_have_any_size_up_to_that_of_the_others(cut: tuple[int, ...]) -> None:
    body = gate(MemoryBody(a_source_with(a_composite(cut)), DATA, cut=cut))
    read(body)
    body.verify()
    assert body.verified_by == f"crc32 of {len(cut)} parts"


@pytest.mark.parametrize(
    "cut", [(0, len(DATA), 0), (0, 0, len(DATA)), (5120, 5120, 0), (2000,) * 3, (4000,)]
)
def test_parts_that_cannot_make_up_the_object_are_unchecked(cut: tuple[int, ...]) -> None:
    """An empty part among them leaves no trace in the bytes."""
    whole = Checksum("CRC32", f"{_base64(zlib.crc32(DATA))}-{len(cut)}", composite=True)
    body = gate(MemoryBody(a_source_with(whole), DATA, cut=cut))
    assert body.verified_by == f"unchecked: crc32 over {len(cut)} parts of unequal size"


def test_a_composite_checksum_whose_parts_nobody_knows_is_unchecked() -> None:
    body = gate(MemoryBody(a_source_with(a_composite(EVEN)), DATA))
    read(body)
    body.verify()
    assert body.verified_by.startswith("unchecked")


def test_no_checksum_at_all_is_said() -> None:
    body = MemoryBody(a_source_with(), DATA)
    assert (
        source_checksum(body.object, body).name
        == "unchecked: S3 has no checksum that can be computed"
    )
    assert body.layouts_asked_for == 0  # each is a request to S3


def test_how_parts_were_cut_is_asked_once_where_only_their_checksums_are_known() -> None:
    body = MemoryBody(a_source_with(a_composite(EVEN)), DATA, cut=EVEN)
    source_checksum(body.object, body)
    assert body.layouts_asked_for == 1


def test_an_algorithm_nobody_here_knows_is_not_taken_for_a_check() -> None:
    unknown = MemoryBody(a_source_with(Checksum("XXHASH3", "AAAA")), DATA)
    assert source_checksum(unknown.object, unknown).start is None


def test_the_cheapest_whole_checksum_is_preferred() -> None:
    found = [Checksum(name, value) for name, value in reversed(WHOLE.items())]
    body = MemoryBody(a_source_with(*found), DATA)
    assert source_checksum(body.object, body).name == "crc32c"


def test_bytes_that_are_missing_are_found_without_any_checksum() -> None:
    body = gate(MemoryBody(a_source_with(), DATA[:-1]))
    read(body)
    with pytest.raises(IntegrityError) as found:
        body.verify()
    assert found.value.message == (
        f"S3 sent {len(DATA) - 1} of the {len(DATA)} bytes of s3://source/key."
        " Nothing was written; try again."
    )


@pytest.mark.parametrize("offset", [0, 1, 999, 1000, 4321, len(DATA)])
def test_what_is_read_again_is_counted_once(offset: int) -> None:
    source = a_source_with(Checksum("CRC64NVME", WHOLE["CRC64NVME"]))
    body = gate(MemoryBody(source, DATA))
    buffer = memoryview(bytearray(5000))
    body.readinto(buffer)
    body.rewind(min(offset, 5000))
    assert read(body) == DATA[min(offset, 5000) :]
    body.verify()
    assert body.crc32c == checksums.crc32c(DATA)


def test_a_second_reading_that_differs_is_left_to_the_checksum_of_the_first() -> None:
    """GCS gets the CRC32C of what S3 vouched for, so it refuses what was read differently."""
    source = a_source_with(Checksum("CRC64NVME", WHOLE["CRC64NVME"]))
    body = gate(MemoryBody(source, DATA, second=bytes(len(DATA))))
    read(body)
    body.rewind(0)
    sent = read(body)
    body.verify()
    assert checksums.crc32c(sent) != body.crc32c == checksums.crc32c(DATA)


def test_an_empty_object_has_a_checksum_too() -> None:
    source = a_source(size=0, checksums=(Checksum("CRC64NVME", "AAAAAAAAAAA="),))
    body = gate(MemoryBody(source, b""))
    assert read(body) == b""
    body.verify()
    assert encode_crc32c(body.crc32c) == "AAAAAA=="
