"""Generated objects: a key states the size, so neither server stores anything.

All objects are of one kind of data, which `use` chooses.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from awscrt import checksums

from tools.common.kinds import KINDS, RANDOM
from tools.common.sizes import MIB

SINGLE_PART_BYTES = 16 * MIB
"""Larger objects are multipart uploads: their ETag is no MD5, as for most large objects of S3."""

PART_BYTES = 8 * MIB

_KEY = re.compile(r"(\d+)x(\d+)-([a-z0-9-]+)/(?:(\d{6})?)")


@dataclass(frozen=True, slots=True)
class Series:
    """`count` objects of `size` bytes. The tag makes their keys unique."""

    size: int
    count: int
    tag: str

    @classmethod
    def of(cls, key: str) -> Self | None:
        """Return the series of a key or a prefix; None when there is no such object."""
        found = _KEY.fullmatch(key)
        if found is None or int(found[4] or 0) >= int(found[2]):
            return None
        return cls(int(found[1]), int(found[2]), found[3])

    @property
    def prefix(self) -> str:
        return f"{self.size}x{self.count}-{self.tag}/"

    @property
    def keys(self) -> list[str]:
        return [f"{self.prefix}{number:06d}" for number in range(self.count)]


class _Used:
    """The kind of all objects."""

    content_type = RANDOM.content_type
    block = RANDOM.block()


def use(kind: str) -> None:
    """Make all objects of this kind of data."""
    _Used.content_type, _Used.block = KINDS[kind].content_type, KINDS[kind].block()
    for function in (crc32c, crc64nvme, md5, range_crc32c):
        function.cache_clear()


def content_type() -> str:
    """Return what S3 says about any object."""
    return _Used.content_type


def content(start: int, end: int) -> Iterator[memoryview]:
    """Yield the bytes of any object from `start` to before `end`."""
    view = memoryview(_Used.block)
    while start < end:
        offset = start % len(view)
        piece = view[offset : offset + end - start]
        yield piece
        start += len(piece)


@functools.cache
def crc32c(size: int) -> bytes:
    """Return the checksum of an object as GCS has it, before base64."""
    return _crc(checksums.crc32c, 0, size).to_bytes(4, "big")


@functools.cache
def crc64nvme(size: int) -> bytes:
    """Return the checksum of an object as S3 has it, before base64."""
    return _crc(checksums.crc64nvme, 0, size).to_bytes(8, "big")


@functools.cache
def md5(size: int) -> bytes | None:
    """Return None for multipart uploads: neither store knows their MD5."""
    if size > SINGLE_PART_BYTES:
        return None
    return hashlib.md5(b"".join(content(0, size)), usedforsecurity=False).digest()


def etag(size: int) -> str:
    """Return the ETag without its quotes."""
    if digest := md5(size):
        return digest.hex()
    parts = -(-size // PART_BYTES)
    return f"{hashlib.md5(str(size).encode(), usedforsecurity=False).hexdigest()}-{parts}"


@functools.cache
def range_crc32c(start: int, end: int) -> bytes:
    """Return the checksum of a range as GCS has it, before base64."""
    return _crc(checksums.crc32c, start, end).to_bytes(4, "big")


def precompute(size: int) -> None:
    """Fill the caches before anything is measured."""
    for function in (crc32c, crc64nvme, md5):
        function(size)


def _crc(function: Callable[[Any, int], int], start: int, end: int) -> int:
    return functools.reduce(lambda value, piece: function(piece, value), content(start, end), 0)
