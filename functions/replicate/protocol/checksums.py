"""Checksums of the bytes while they stream: the one that S3 stores, and the CRC32C for GCS."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from awscrt import checksums

from replicate.errors import IntegrityError, ReplicationError
from replicate.protocol.model import EtagKind, PartLayout, SourceObject
from replicate.protocol.ports import Body, Layouts, Stop, StoppedError

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
        """Add the next bytes."""
        self.value = self._function(data, self.value)

    def digest(self) -> bytes:
        """Return the CRC of all bytes so far, the most significant byte first."""
        return self.value.to_bytes(self._size, "big")


def crc32c() -> Crc:
    """Start a CRC32C, the only checksum that both S3 and GCS support."""
    return Crc(checksums.crc32c, 4)


class _PartDigests:
    """The digests of consecutive parts of `part_size` bytes. Interface of `hashlib`."""

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
        return bytes(self._digests) + self._part.digest()

    def _close_part(self) -> None:
        self._digests += self._part.digest()
        self._part = self._start()
        self._room = self._part_size


class CompositeChecksum(_PartDigests):
    """A checksum of the checksums of parts of `part_size` bytes."""

    def digest(self) -> bytes:
        """Return the checksum of the checksums of all parts."""
        return _hashed(self._start, super().digest())


def _hashed(start: Callable[[], _Running], data: bytes) -> bytes:
    running = start()
    running.update(memoryview(data))
    return running.digest()


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


def source_checksum(source: SourceObject, layouts: Layouts) -> SourceChecksum:
    """Choose the checksum of S3 to compute while the bytes stream.

    A checksum over the whole object is preferred to one over its parts: the latter needs a request
    for the part layout.
    """
    for algorithm, start in _ALGORITHMS.items():
        for checksum in source.checksums:
            if checksum.algorithm == algorithm and not checksum.composite:
                return SourceChecksum(algorithm.lower(), base64.b64decode(checksum.value), start)
    if source.etag_kind is EtagKind.MD5:
        return SourceChecksum("etag-md5", bytes.fromhex(source.etag), _md5)
    none = SourceChecksum(f"{UNCHECKED}: S3 has no checksum that can be computed")
    return _composite_checksum(source, layouts) or none


def _composite_checksum(source: SourceObject, layouts: Layouts) -> SourceChecksum | None:
    found = _composite(source)
    layout = layouts.part_layout(source) if found else None
    if found is None or layout is None:
        return None
    name, digest, count, start = found
    if count != layout.count or not _adds_up(layout, source.size):
        return SourceChecksum(f"{UNCHECKED}: {name} over {count} parts of unequal size")
    size = layout.size
    name = f"{name} of {count} parts"
    return SourceChecksum(name, digest, lambda: CompositeChecksum(start, size), layout)


def _adds_up(layout: PartLayout, size: int) -> bool:
    """Return whether parts of this layout can make an object of `size` bytes."""
    last = size - (layout.count - 1) * layout.size
    return 0 < last <= layout.size or (size == 0 and layout.count == 1)


def _composite(source: SourceObject) -> tuple[str, bytes, int, Callable[[], _Running]] | None:
    """Return name, digest, number of parts and algorithm of a checksum over parts."""
    for algorithm, start in _ALGORITHMS.items():
        for checksum in source.checksums:
            value, _, count = checksum.value.rpartition("-")
            if checksum.algorithm == algorithm and checksum.composite and count.isdecimal():
                return algorithm.lower(), base64.b64decode(value), int(count), start
    if source.etag_kind is EtagKind.MD5_OF_PARTS:
        value, _, count = source.etag.rpartition("-")
        return "etag-md5", bytes.fromhex(value), int(count), _md5
    return None


def encode_crc32c(value: int) -> str:
    """Encode a CRC32C as GCS does: the big-endian bytes in base64."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


class _Gate:
    """Passes the bytes of a body on and computes checksums of them.

    Bytes that are read again after a rewind are not hashed again. If they differ from the first
    reading, GCS refuses the upload: it compares them with the CRC32C of the first reading.
    """

    def __init__(self, body: Body, size: int, running: _Running | None) -> None:
        self.size = size
        self._body = body
        self._crc32c = crc32c()
        self._running = running
        self._position = 0
        self._hashed = 0
        self._read = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Tell an error how many bytes the write has read, those that it read again included."""
        try:
            yield
        except ReplicationError as error:
            error.bytes_wasted = self._read
            raise

    @property
    def crc32c(self) -> int:
        return self._crc32c.value

    def is_stored_as(self, crc32c: str | None, size: int) -> bool:
        """See `GatedBody.is_stored_as`."""
        return (crc32c, size) == (encode_crc32c(self.crc32c), self.size)

    def readinto(self, buffer: memoryview) -> int:
        count = self._body.readinto(buffer)
        self._position += count
        self._read += count
        fresh = self._position - self._hashed
        if fresh > 0:
            new = buffer[count - fresh : count]
            self._crc32c.update(new)
            if self._running is not None:
                self._running.update(new)
            self._hashed = self._position
        return count

    def rewind(self, offset: int) -> None:
        self._body.rewind(offset)
        self._position = offset

    def _digest(self) -> bytes:
        return (self._running or self._crc32c).digest()

    def verify(self) -> None:
        """Raise IntegrityError unless all bytes were read."""
        if self._hashed != self.size:
            raise IntegrityError(
                f"S3 sent {self._hashed} of the {self.size} bytes of {self._body.object.ref.uri}."
                " Nothing was written; try again."
            )


class CommitGate(_Gate):
    """Compares a whole object with the checksum that S3 stores, before it may become visible.

    `verified_by` names that checksum, or is `unchecked: why`.
    """

    def __init__(self, body: Body, layouts: Layouts) -> None:
        self._layouts = layouts
        self._expected = source_checksum(body.object, layouts)
        self.verified_by = self._expected.name
        start = None if self._expected.name == "crc32c" else self._expected.start
        super().__init__(body, body.object.size, start() if start else None)

    def verify(self) -> None:
        """Raise IntegrityError unless all bytes were read and match. Raise SourceChangedError."""
        super().verify()
        if self._expected.start is None:
            return
        digest = self._digest()
        if digest != self._expected.digest and not self._layout_was_wrong():
            raise mismatch(self._body.object, self._expected.name, digest, self._expected.digest)

    def _layout_was_wrong(self) -> bool:
        """Return whether the parts have unequal sizes, so that the checksum proves nothing."""
        layout = self._expected.layout
        if layout is None or self._layouts.has_layout(self._body.object, layout):
            return False
        self.verified_by = f"{UNCHECKED}: {layout.count} parts of unequal size"
        return True


def mismatch(source: SourceObject, name: str, found: bytes, expected: bytes) -> IntegrityError:
    """Return the error for bytes that do not match the checksum of S3."""
    return IntegrityError(
        f"The bytes of {source.ref.uri} do not match the {name} that S3 stores for them:"
        f" {found.hex()} instead of {expected.hex()}. Nothing was written. Try again. If the error"
        " stays, check the object in S3."
    )


@dataclass(frozen=True, slots=True)
class RangeChecksum:
    """A checksum of a whole object that can be computed range by range.

    Each range gives a record: its CRC, or the digests of S3's parts in it. `join` turns the records
    and sizes of consecutive ranges into the record of their union. `digest_of` turns the record of
    the whole object into the digest that S3 stores.
    """

    name: str
    digest: bytes
    start: Callable[[], _Running]
    join: Callable[[Sequence[tuple[bytes, int]]], bytes]
    digest_of: Callable[[bytes], bytes]
    layout: PartLayout | None = None
    """S3's parts, if the checksum is computed over these: ranges must begin where parts begin."""


_COMBINE: dict[str, tuple[Callable[[int, int, int], int], int]] = {
    "CRC32C": (checksums.combine_crc32c, 4),
    "CRC64NVME": (checksums.combine_crc64nvme, 8),
    "CRC32": (checksums.combine_crc32, 4),
}


def range_checksum(source: SourceObject, layouts: Layouts) -> RangeChecksum | None:
    """Choose the checksum of S3 that ranges can be checked with; None if there is none."""
    for algorithm, (combine, size) in _COMBINE.items():
        for checksum in source.checksums:
            if checksum.algorithm == algorithm and not checksum.composite:
                return RangeChecksum(
                    algorithm.lower(),
                    base64.b64decode(checksum.value),
                    _ALGORITHMS[algorithm],
                    partial(_combined, combine, size),
                    bytes,
                )
    expected = _composite_checksum(source, layouts)
    layout = expected.layout if expected else None
    found = _composite(source)
    if expected is None or layout is None or found is None:
        return None
    _, _, _, start = found
    return RangeChecksum(
        expected.name,
        expected.digest,
        lambda: _PartDigests(start, layout.size),
        lambda records: b"".join(record for record, _ in records),
        partial(_hashed, start),
        layout,
    )


def combined_crc32c(parts: Sequence[tuple[str, int]]) -> str:
    """Combine CRC32Cs of ranges, in base64 and with sizes in bytes, into that of the whole."""
    records = [(base64.b64decode(value), size) for value, size in parts]
    return base64.b64encode(_combined(checksums.combine_crc32c, 4, records)).decode()


def _combined(
    combine: Callable[[int, int, int], int], size: int, records: Sequence[tuple[bytes, int]]
) -> bytes:
    value = 0
    for record, length in records:
        value = combine(value, int.from_bytes(record), length)
    return value.to_bytes(size)


class PartGate(_Gate):
    """Computes the record of one range. The records of all ranges are compared together."""

    def __init__(self, body: Body, size: int, checksum: RangeChecksum | None, stop: Stop) -> None:
        is_own = checksum is not None and checksum.name != "crc32c"
        super().__init__(body, size, checksum.start() if checksum and is_own else None)
        self._stop = stop

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`. Raise StoppedError."""
        if self._stop.requested:
            raise StoppedError
        return super().readinto(buffer)

    @property
    def record(self) -> bytes:
        """The record of the bytes read so far."""
        return self._digest()
