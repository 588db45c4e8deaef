"""Resumable upload sessions: what a broken connection leaves, and what ends a session."""

import re
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from tools.local.gcs.checksums import Checksum
from tools.local.gcs.errors import ApiError, invalid, not_found
from tools.local.gcs.metadata import Fields
from tools.local.gcs.partial import Selection
from tools.local.gcs.preconditions import Preconditions
from tools.local.gcs.spool import STEP_BYTES, Content, Spool
from tools.local.gcs.store import StoredObject

_RANGE = re.compile(r"bytes (?:(\*)|(\d+)-(\d+|\*))/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """The Content-Range of a PUT: `bytes first-(end - 1)/total`.

    Not Werkzeug's: it does not know `first-*`, which GCS takes for a body of unknown length.
    """

    first: int | None  # None: no bytes, only a query of how many are persisted
    end: int | None  # None: wherever the body ends
    total: int | None  # None: not known yet

    @classmethod
    def parse(cls, header: str | None, body_bytes: int | None) -> "ContentRange":
        """Read the header; without one the body is the whole object."""
        if header is None:
            return cls(0, body_bytes, body_bytes)
        match = _RANGE.fullmatch(header.strip())
        if not match:
            raise invalid(f"Failed to parse Content-Range header: {header!r}")
        star, first, last, total = match.groups()
        known = None if total == "*" else int(total)
        if star:
            return cls(None, None, known)
        end = None if last == "*" else int(last) + 1
        if end is not None and (end <= int(first) or (known is not None and end > known)):
            raise invalid(f"Invalid Content-Range: {header!r}")
        return cls(int(first), end, known)

    @property
    def completes(self) -> bool:
        """Whether this request is meant to be the last."""
        return self.first is not None and (self.end is None or self.end == self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSpec:
    """What the first request of an upload asks for."""

    bucket: str
    name: str
    fields: Fields
    preconditions: Preconditions
    checksums: tuple[Checksum, ...]
    size: int | None  # X-Upload-Content-Length
    selection: Selection | None  # the parts of the resource to return at the end


class Session:
    """One upload. It ends once: as an object, with an error that is repeated, or cancelled."""

    def __init__(self, spec: UploadSpec, spool: Spool) -> None:
        self.id = secrets.token_urlsafe(24)
        self.spec = spec
        self._spool = spool
        self._lock = threading.RLock()
        self._stored: StoredObject | None = None
        self._error: ApiError | None = None

    @property
    def persisted(self) -> int:
        """How many bytes are persisted."""
        return self._spool.size

    @property
    def is_open(self) -> bool:
        """Whether the upload can still become an object."""
        return self._stored is None and self._error is None

    def is_finished_by(self, content_range: ContentRange) -> bool:
        """Say whether this is `bytes */N`, and N bytes are persisted."""
        return (
            self.is_open and content_range.first is None and content_range.total == self.persisted
        )

    def result(self) -> StoredObject | None:
        """Return the finished object, None while the session is open; raise how it failed."""
        with self._lock:
            if self._error:
                raise self._error
            return self._stored

    def check_total(self, total: int | None) -> None:
        """Refuse a size other than the one declared when the session was opened."""
        if total is not None and self.spec.size not in {None, total}:
            raise invalid(f"The upload was declared to have {self.spec.size} bytes, not {total}.")

    def receive(self, chunks: Iterator[bytes], content_range: ContentRange) -> tuple[int, bytes]:
        """Persist whole steps as they arrive.

        Return where the bytes ended, and those after the last whole step. Steps that are
        persisted when `chunks` raises stay persisted.
        """
        at = content_range.first or 0
        if at > self.persisted:
            raise ApiError(503, "backendError", "The bytes before this chunk are not persisted.")
        skip = self.persisted - at
        at = self.persisted
        pending = bytearray()
        for chunk in _limited(chunks, content_range):
            dropped = min(skip, len(chunk))
            skip -= dropped
            pending += memoryview(chunk)[dropped:]
            whole = len(pending) // STEP_BYTES * STEP_BYTES
            if whole:
                self._persist(at, bytes(memoryview(pending)[:whole]))
                at += whole
                del pending[:whole]
        return at - skip + len(pending), bytes(pending)

    def _persist(self, at: int, data: bytes) -> None:
        """Append `data`, which starts at `at`, without what another connection appended."""
        with self._lock:
            if self.is_open:
                self._spool.append(data[self.persisted - at :])

    def finish(
        self, at: int, tail: bytes, commit: Callable[[Content], StoredObject]
    ) -> StoredObject:
        """Append the tail and commit. An error other than 429 ends the session."""
        with self._lock:
            if stored := self.result():
                return stored
            self._persist(at, tail)
            try:
                self._stored = commit(self._spool.content())
            except ApiError as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                    self._fail(error)
                raise
            return self._stored

    def cancel(self) -> None:
        """End the session; one that failed keeps its error."""
        with self._lock:
            if self._stored:
                raise not_found("The upload is finished already.")
            if self._error is None:
                self._fail(cancelled())

    def _fail(self, error: ApiError) -> None:
        self._error = error
        self._spool.discard()


def cancelled() -> ApiError:
    """Return the response to a cancellation, and to every later request of the session."""
    return ApiError(499, "clientClosedRequest", "The upload was cancelled.")


def _limited(chunks: Iterator[bytes], content_range: ContentRange) -> Iterator[bytes]:
    """Yield the chunks; refuse a body with more bytes than its range has."""
    left = float("inf") if content_range.end is None else content_range.end
    left -= content_range.first or 0
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise invalid("The body has more bytes than its Content-Range.")
        yield chunk
