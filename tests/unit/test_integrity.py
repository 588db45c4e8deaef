"""Checks on the bytes, whatever S3 has to check them with."""

import base64
import hashlib
import zlib

import pytest
from awscrt import checksums
from builders import a_source

from replicate.errors import IntegrityError
from replicate.integrity import VerifyingBody, encode_crc32c, expectation
from replicate.objects import Checksum, SourceObject

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

    def __init__(self, source: SourceObject, data: bytes, second: bytes | None = None) -> None:
        self.object = source
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


def read(body: VerifyingBody, piece: int = 1000) -> bytes:
    buffer = memoryview(bytearray(piece))
    pieces = []
    while count := body.readinto(buffer):
        pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def a_source_with(*found: Checksum, etag: str = "x-2", etag_is_md5: bool = False) -> SourceObject:
    return a_source(size=len(DATA), checksums=found, etag=etag, etag_is_md5=etag_is_md5)


@pytest.mark.parametrize("algorithm", WHOLE)
def test_bytes_that_match_s3s_checksum_pass_and_say_which_it_was(algorithm: str) -> None:
    body = VerifyingBody(MemoryBody(a_source_with(Checksum(algorithm, WHOLE[algorithm])), DATA))
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
    body = VerifyingBody(MemoryBody(source, bytes(wrong)))
    read(body)
    with pytest.raises(IntegrityError, match=f"do not match the {algorithm.lower()}"):
        body.verify()


def test_the_md5_in_an_etag_serves_where_there_is_nothing_else() -> None:
    md5 = hashlib.md5(DATA).hexdigest()  # noqa: S324 - as S3 has it
    good = VerifyingBody(MemoryBody(a_source_with(etag=md5, etag_is_md5=True), DATA))
    read(good)
    good.verify()
    assert good.verified_by == "etag-md5"
    bad = VerifyingBody(MemoryBody(a_source_with(etag="0" * 32, etag_is_md5=True), DATA))
    read(bad)
    with pytest.raises(IntegrityError):
        bad.verify()


def test_a_composite_checksum_is_said_to_be_unchecked() -> None:
    composite = Checksum("SHA256", WHOLE["SHA256"] + "-3", composite=True)
    body = VerifyingBody(MemoryBody(a_source_with(composite), DATA))
    read(body)
    body.verify()
    assert body.verified_by == "unchecked: S3 has only a composite SHA256"


def test_no_checksum_at_all_is_said() -> None:
    assert expectation(a_source_with()).name == "unchecked: S3 has no checksum of the whole object"


def test_an_algorithm_nobody_here_knows_is_not_taken_for_a_check() -> None:
    assert expectation(a_source_with(Checksum("XXHASH3", "AAAA"))).start is None


def test_the_cheapest_whole_checksum_is_preferred() -> None:
    found = [Checksum(name, value) for name, value in reversed(WHOLE.items())]
    assert expectation(a_source_with(*found)).name == "crc32c"


def test_bytes_that_are_missing_are_found_without_any_checksum() -> None:
    body = VerifyingBody(MemoryBody(a_source_with(), DATA[:-1]))
    read(body)
    with pytest.raises(IntegrityError, match=f"{len(DATA) - 1} of the {len(DATA)} bytes"):
        body.verify()


@pytest.mark.parametrize("offset", [0, 1, 999, 1000, 4321, len(DATA)])
def test_what_is_read_again_is_counted_once(offset: int) -> None:
    source = a_source_with(Checksum("CRC64NVME", WHOLE["CRC64NVME"]))
    body = VerifyingBody(MemoryBody(source, DATA))
    buffer = memoryview(bytearray(5000))
    body.readinto(buffer)
    body.rewind(min(offset, 5000))
    assert read(body) == DATA[min(offset, 5000) :]
    body.verify()
    assert body.crc32c == checksums.crc32c(DATA)


def test_a_second_reading_that_differs_is_left_to_the_checksum_of_the_first() -> None:
    """GCS gets the CRC32C of what S3 vouched for, so it refuses what was read differently."""
    source = a_source_with(Checksum("CRC64NVME", WHOLE["CRC64NVME"]))
    body = VerifyingBody(MemoryBody(source, DATA, second=bytes(len(DATA))))
    read(body)
    body.rewind(0)
    sent = read(body)
    body.verify()
    assert checksums.crc32c(sent) != body.crc32c == checksums.crc32c(DATA)


def test_an_empty_object_has_a_checksum_too() -> None:
    source = a_source(size=0, checksums=(Checksum("CRC64NVME", "AAAAAAAAAAA="),))
    body = VerifyingBody(MemoryBody(source, b""))
    assert read(body) == b""
    body.verify()
    assert encode_crc32c(body.crc32c) == "AAAAAA=="
