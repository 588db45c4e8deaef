"""Received bytes: written to disk and hashed as they arrive, in flat memory."""

import base64
import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import google_crc32c

STEP_BYTES = 256 * 1024
"""GCS persists a resumable upload in steps of this size; only the end may be shorter."""

CHUNK_BYTES = 1024 * 1024
"""The most that is read from a socket or a file at once."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An object's bytes on disk and their checksums, base64 as the API spells them."""

    path: Path
    size: int
    crc32c: str
    md5: str | None
    components: int | None = None

    def goog_hash(self) -> str:
        """Return the value of the `X-Goog-Hash` header."""
        return f"crc32c={self.crc32c}" + (f",md5={self.md5}" if self.md5 else "")


class Spool:
    """A file that grows. It is open only while it is written, so an abandoned one leaks nothing."""

    def __init__(self, directory: Path, *, md5: bool = True) -> None:
        self.path = directory / f"{next(_numbers):012d}"
        self.path.touch()
        self.size = 0
        self._crc32c = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Remove the file where an error kept it from becoming an object."""
        if error:
            self.discard()

    def append(self, data: bytes) -> None:
        """Write `data` at the end."""
        with self.path.open("ab") as file:
            file.write(data)
        self.size += len(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)
        if self._md5:
            self._md5.update(data)

    def fill(self, chunks: Iterable[bytes]) -> None:
        """Append every chunk."""
        for chunk in chunks:
            self.append(chunk)

    def content(self, *, components: int | None = None) -> Content:
        """Return what was received so far."""
        return Content(
            path=self.path,
            size=self.size,
            crc32c=base64.b64encode(self._crc32c.to_bytes(4, "big")).decode(),
            md5=base64.b64encode(self._md5.digest()).decode() if self._md5 else None,
            components=components,
        )

    def discard(self) -> None:
        """Remove the file; harmless when it is gone already."""
        self.path.unlink(missing_ok=True)
