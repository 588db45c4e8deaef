"""Checksums of the bytes while they stream: the one that S3 stores, and the CRC32C for GCS."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from awscrt import checksums

from replicate.errors import IntegrityError
from replicate.protocol.model import PartLayout, SourceObject
from replicate.protocol.ports import Body

UNCHECKED = "unchecked"
"""Prefix of `verified_by` when S3 has no checksum that can be computed here."""


class _Running(Protocol):
    """A checksum being computed, with the interface of `hashlib`."""

    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class Crc:
    """A CRC of `size` bytes, with the interface of `hashlib`."""

    def __init__(self, function: Callable[[Any, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self.value = 0

    def update(self, data: memoryview, /) -> None:
        self.value = self._function(data, self.value)

    def digest(self) -> bytes:
        return self.value.to_bytes(self._size, "big")


def crc32c() -> Crc:
    """Start a CRC32C, the only checksum that both S3 and GCS support."""
    return Crc(checksums.crc32c, 4)


class CompositeChecksum:
    """A checksum of the checksums of parts of `part_size` bytes. Interface of `hashlib`."""

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


# The cheapest to compute comes first.
_ALGORITHMS: dict[str, Callable[[], _Running]] = {
    "CRC32C": crc32c,
    "CRC64NVME": lambda: Crc(checksums.crc64nvme, 8),
    "CRC32": lambda: Crc(checksums.crc32, 4),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
}


@dataclass(frozen=True, slots=True)
class SourceChecksum:
    """The checksum that the bytes must have. `start` is None when S3 stores none we can compute."""

    name: str
    digest: bytes = b""
    start: Callable[[], _Running] | None = None
    layout: PartLayout | None = None
    """The parts that a composite checksum was computed over."""


def source_checksum(body: Body) -> SourceChecksum:
    """Choose the checksum of S3 to compute while the bytes stream.

    A checksum over the whole object is preferred to one over its parts: the latter needs a request
    for the part layout.
    """
    source = body.object
    for algorithm, start in _ALGORITHMS.items():
        for checksum in source.checksums:
            if checksum.algorithm == algorithm and not checksum.composite:
                return SourceChecksum(algorithm.lower(), base64.b64decode(checksum.value), start)
    if source.etag_is_md5:
        return SourceChecksum("etag-md5", bytes.fromhex(source.etag), _md5)
    none = SourceChecksum(f"{UNCHECKED}: S3 has no checksum that can be computed")
    return _composite_checksum(body) or none


def _composite_checksum(body: Body) -> SourceChecksum | None:
    found = _composite(body.object)
    layout = body.part_layout() if found else None
    if found is None or layout is None:
        return None
    name, digest, count, start = found
    if count != layout.count or not _adds_up(layout, body.object.size):
        return SourceChecksum(f"{UNCHECKED}: {name} over {count} parts of unequal size")
    size = layout.size
    name = f"{name} of {count} parts"
    return SourceChecksum(name, digest, lambda: CompositeChecksum(start, size), layout)


def _adds_up(layout: PartLayout, size: int) -> bool:
    """Whether parts of this layout can make an object of `size` bytes."""
    last = size - (layout.count - 1) * layout.size
    return 0 < last <= layout.size or (size == 0 and layout.count == 1)


def _composite(source: SourceObject) -> tuple[str, bytes, int, Callable[[], _Running]] | None:
    """Return name, digest, number of parts and algorithm of a checksum over parts."""
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
    """Encode a CRC32C as GCS does: the big-endian bytes in base64."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


class CommitGate:
    """Passes bytes on and computes their checksums. No upload may complete before `verify` returns.

    Bytes that are read again after a rewind are not hashed again. If they differ from the first
    reading, GCS refuses the upload: it compares them with the CRC32C of the first reading, which
    `verify` has compared with the source's checksum. `verified_by` names that checksum, or is
    `unchecked: why`.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self.object = body.object
        self._expected = source_checksum(body)
        self.verified_by = self._expected.name
        self._crc32c = crc32c()
        self._source: _Running | None = None
        if self._expected.start is not None and self._expected.name != "crc32c":
            self._source = self._expected.start()
        self._position = 0
        self._hashed = 0

    @property
    def crc32c(self) -> int:
        return self._crc32c.value

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
        """Raise IntegrityError unless all bytes were read and match. Raise SourceChangedError."""
        source = self._body.object
        if self._hashed != source.size:
            raise IntegrityError(
                f"S3 sent {self._hashed} of the {source.size} bytes of {source.ref.uri}."
                " Nothing was written; try again."
            )
        if self._expected.start is None:
            return
        digest = (self._source or self._crc32c).digest()
        if digest != self._expected.digest and not self._layout_was_wrong():
            raise IntegrityError(
                f"The bytes of {source.ref.uri} do not match the {self._expected.name} that S3 has"
                f" for them: {digest.hex()} instead of {self._expected.digest.hex()}."
                " Nothing was written; try again, and if it stays, check the object in S3."
            )

    def _layout_was_wrong(self) -> bool:
        """Whether the parts are not equal, as the first one suggested: then nothing was checked."""
        layout = self._expected.layout
        if layout is None or self._body.has_layout(layout):
            return False
        self.verified_by = f"{UNCHECKED}: {layout.count} parts of unequal size"
        return True
