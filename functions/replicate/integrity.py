"""Checks the bytes on their way: S3's own checksum, and the CRC32C that GCS will be held to."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from awscrt import checksums

from replicate.errors import IntegrityError
from replicate.objects import Checksum, SourceObject
from replicate.ports import Body


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


# In the order of preference: the cheaper first, among those that S3 computes over the whole object.
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


def expectation(source: SourceObject) -> Expectation:
    """Which checksum of S3 the bytes can be held to while they stream by."""
    whole = {c.algorithm: c for c in source.checksums if not c.composite}
    for algorithm, start in _ALGORITHMS.items():
        if algorithm in whole:
            return Expectation(algorithm.lower(), _decode(whole[algorithm]), start)
    if source.etag_is_md5:
        start_md5 = lambda: hashlib.md5(usedforsecurity=False)  # noqa: E731
        return Expectation("etag-md5", bytes.fromhex(source.etag), start_md5)
    if source.checksums:
        return Expectation(f"unchecked: S3 has only a composite {source.checksums[0].algorithm}")
    return Expectation("unchecked: S3 has no checksum of the whole object")


def _decode(checksum: Checksum) -> bytes:
    return base64.b64decode(checksum.value)


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
        self._expected = expectation(body.object)
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
        """Raises IntegrityError."""
        source = self._body.object
        if self._hashed != source.size:
            raise IntegrityError(
                f"S3 sent {self._hashed} of the {source.size} bytes of {source.ref.uri}."
                " Nothing was written; try again."
            )
        if self._expected.start is None:
            return
        digest = (self._source or self._crc32c).digest()
        if digest != self._expected.digest:
            raise IntegrityError(
                f"The bytes of {source.ref.uri} do not match the {self._expected.name} that S3 has"
                f" for them: {digest.hex()} instead of {self._expected.digest.hex()}."
                " Nothing was written; try again, and if it stays, check the object in S3."
            )
