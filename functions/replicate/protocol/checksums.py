"""Checks the bytes on their way: S3's own checksum, and the CRC32C that GCS will be held to."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from awscrt import checksums

from replicate.errors import IntegrityError
from replicate.protocol.model import Parts, SourceObject
from replicate.protocol.ports import Body

UNCHECKED = "unchecked"
"""How the name of a check begins that could not be made."""


class _Running(Protocol):
    """A checksum being computed, in the shape of `hashlib`."""

    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class Crc:
    """A CRC of `size` bytes, in the shape of `hashlib`."""

    def __init__(self, function: Callable[[Any, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self.value = 0

    def update(self, data: memoryview, /) -> None:
        self.value = self._function(data, self.value)

    def digest(self) -> bytes:
        return self.value.to_bytes(self._size, "big")


def crc32c() -> Crc:
    """Start a CRC32C: the one checksum that S3 and GCS have in common."""
    return Crc(checksums.crc32c, 4)


class OfParts:
    """A composite checksum: that of the checksums of parts, in the shape of `hashlib`."""

    def __init__(self, start: Callable[[], _Running], part_size: int) -> None:
        self._start = start
        self._part_size = part_size
        self._part = start()
        self._room = part_size
        self._digests = bytearray()

    def update(self, data: memoryview, /) -> None:
        while len(data):
            if not self._room:
                self._close_part()
            piece = data[: self._room]
            self._part.update(piece)
            self._room -= len(piece)
            data = data[len(piece) :]

    def digest(self) -> bytes:
        whole = self._start()
        whole.update(memoryview(bytes(self._digests) + self._part.digest()))
        return whole.digest()

    def _close_part(self) -> None:
        self._digests += self._part.digest()
        self._part = self._start()
        self._room = self._part_size


def _md5() -> _Running:
    return hashlib.md5(usedforsecurity=False)


# In the order of preference: the cheaper first.
_ALGORITHMS: dict[str, Callable[[], _Running]] = {
    "CRC32C": crc32c,
    "CRC64NVME": lambda: Crc(checksums.crc64nvme, 8),
    "CRC32": lambda: Crc(checksums.crc32, 4),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """The strongest thing S3 says about an object's bytes; `start` is None when it says nothing."""

    name: str
    digest: bytes = b""
    start: Callable[[], _Running] | None = None
    parts: Parts | None = None


def expectation(body: Body) -> Expectation:
    """Which checksum of S3 the bytes can be held to while they stream by.

    One over the whole object, if there is any; else one over its parts, which takes a request to
    find out how they were cut.
    """
    source = body.object
    for algorithm, start in _ALGORITHMS.items():
        for checksum in source.checksums:
            if checksum.algorithm == algorithm and not checksum.composite:
                return Expectation(algorithm.lower(), base64.b64decode(checksum.value), start)
    if source.etag_is_md5:
        return Expectation("etag-md5", bytes.fromhex(source.etag), _md5)
    return _of_parts(body) or Expectation(f"{UNCHECKED}: S3 has no checksum that can be computed")


def _of_parts(body: Body) -> Expectation | None:
    found = _composite(body.object)
    parts = body.parts() if found else None
    if found is None or parts is None:
        return None
    name, digest, count, start = found
    if count != parts.count or not _make_up(parts, body.object.size):
        return Expectation(f"{UNCHECKED}: {name} over {count} parts of unequal size")
    size = parts.size
    return Expectation(f"{name} of {count} parts", digest, lambda: OfParts(start, size), parts)


def _make_up(parts: Parts, size: int) -> bool:
    """Whether so many parts, each but the last as large as the first, are an object of `size`."""
    last = size - (parts.count - 1) * parts.size
    return 0 < last <= parts.size or (size == 0 and parts.count == 1)


def _composite(source: SourceObject) -> tuple[str, bytes, int, Callable[[], _Running]] | None:
    """Name, digest, number of parts and algorithm of a checksum over parts."""
    for algorithm, start in _ALGORITHMS.items():
        for checksum in source.checksums:
            value, _, count = checksum.value.rpartition("-")
            if checksum.algorithm == algorithm and checksum.composite and count.isdecimal():
                return algorithm.lower(), base64.b64decode(value), int(count), start
    if source.etag_is_md5_of_parts:
        value, _, count = source.etag.rpartition("-")
        return "etag-md5", bytes.fromhex(value), int(count), _md5
    return None


def encode_crc32c(value: int) -> str:
    """CRC32C as GCS writes it: base64 of the big-endian bytes."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


class VerifyingBody:
    """Hands bytes on and checks each of them once.

    What is read again after a rewind is not hashed again: should it differ from the first reading,
    GCS finds out, because the CRC32C it is held to is that of the first reading, which `verify`
    compared with the source's.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._expected = expectation(body)
        self._crc32c = crc32c()
        self._source: _Running | None = None
        if self._expected.start is not None and self._expected.name != "crc32c":
            self._source = self._expected.start()
        self._position = 0
        self._hashed = 0

    @property
    def object(self) -> SourceObject:
        return self._body.object

    @property
    def crc32c(self) -> int:
        return self._crc32c.value

    @property
    def verified_by(self) -> str:
        """The source's checksum, or why there was none to check."""
        return self._expected.name

    def readinto(self, buffer: memoryview) -> int:
        count = self._body.readinto(buffer)
        self._position += count
        fresh = self._position - self._hashed
        if fresh > 0:
            new = buffer[count - fresh : count]
            self._crc32c.update(new)
            if self._source is not None:
                self._source.update(new)
            self._hashed = self._position
        return count

    def rewind(self, offset: int) -> None:
        self._body.rewind(offset)
        self._position = offset

    def verify(self) -> None:
        """Raises IntegrityError, SourceChangedError."""
        source = self._body.object
        if self._hashed != source.size:
            raise IntegrityError(
                f"S3 sent {self._hashed} of the {source.size} bytes of {source.ref.uri}."
                " Nothing was written; try again."
            )
        if self._expected.start is None:
            return
        digest = (self._source or self._crc32c).digest()
        if digest != self._expected.digest and not self._was_cut_otherwise():
            raise IntegrityError(
                f"The bytes of {source.ref.uri} do not match the {self._expected.name} that S3 has"
                f" for them: {digest.hex()} instead of {self._expected.digest.hex()}."
                " Nothing was written; try again, and if it stays, check the object in S3."
            )

    def _was_cut_otherwise(self) -> bool:
        """Whether the first part misled us about the others: then nothing was checked."""
        parts = self._expected.parts
        if parts is None or self._body.is_cut_like(parts):
            return False
        self._expected = Expectation(f"{UNCHECKED}: {parts.count} parts of unequal size")
        return True
