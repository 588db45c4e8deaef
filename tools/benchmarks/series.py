"""Objects that nobody stores: everything about one is in its key, so both servers know it."""

import functools
import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from awscrt import checksums

BLOCK = random.Random(0).randbytes(1024 * 1024)  # noqa: S311 - a pattern that does not compress
"""Every object consists of this block, over and over."""

SINGLE_PART_BYTES = 16 * 1024 * 1024
"""What is larger was a multipart upload: its ETag is no MD5, as for most large objects of S3."""

_KEY = re.compile(r"(\d+)x(\d+)-([a-z0-9-]+)/(?:(\d{6})?)")


@dataclass(frozen=True, slots=True)
class Series:
    """`count` objects of `size` bytes; the tag makes their names new."""

    size: int
    count: int
    tag: str

    @classmethod
    def of(cls, key: str) -> Self | None:
        """The series that a key or a prefix belongs to."""
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


def content(start: int, end: int) -> Iterator[memoryview]:
    """The bytes of any object from `start` to before `end`."""
    view = memoryview(BLOCK)
    while start < end:
        at = start % len(BLOCK)
        piece = view[at : at + end - start]
        yield piece
        start += len(piece)


@functools.cache
def crc32c(size: int) -> bytes:
    """As GCS has it, before base64."""
    return _crc(checksums.crc32c, size).to_bytes(4, "big")


@functools.cache
def crc64nvme(size: int) -> bytes:
    """As S3 has it, before base64."""
    return _crc(checksums.crc64nvme, size).to_bytes(8, "big")


@functools.cache
def md5(size: int) -> bytes | None:
    """None for large objects: nobody who uploads in parts knows it."""
    if size > SINGLE_PART_BYTES:
        return None
    return hashlib.md5(b"".join(content(0, size)), usedforsecurity=False).digest()


def etag(size: int) -> str:
    """The ETag, without its quotes."""
    digest = md5(size)
    if digest is not None:
        return digest.hex()
    parts = -(-size // (8 * 1024 * 1024))
    return f"{hashlib.md5(str(size).encode(), usedforsecurity=False).hexdigest()}-{parts}"


def prime(size: int) -> None:
    """Compute once what every answer needs, before anything is measured."""
    crc32c(size)
    crc64nvme(size)
    md5(size)


def _crc(function: Callable[[Any, int], int], size: int) -> int:
    return functools.reduce(lambda value, piece: function(piece, value), content(0, size), 0)
