"""Resumable upload sessions: what is kept when a connection breaks, and what ends a session."""

import re
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from tools.local.gcs.checksums import Promise
from tools.local.gcs.errors import ApiError, invalid, not_found
from tools.local.gcs.metadata import Fields
from tools.local.gcs.partial import Selection
from tools.local.gcs.preconditions import Preconditions
from tools.local.gcs.spool import STEP_BYTES, Content, Spool
from tools.local.gcs.store import StoredObject

_RANGE = re.compile(r"bytes (?:(\*)|(\d+)-(\d+|\*))/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What a PUT says about its body: `bytes first-(end - 1)/total`."""

    first: int | None  # None: no bytes, only the question how far the upload got
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
class Intent:
    """What the request that opened the session asked for."""

    bucket: str
    name: str
    fields: Fields
    preconditions: Preconditions
    promises: tuple[Promise, ...]
    size: int | None  # X-Upload-Content-Length
    selection: Selection | None  # what of the resource is sent at the end


class Session:
    """One upload. It ends once: as an object, as a refusal that stays, or cancelled."""

    def __init__(self, session_id: str, intent: Intent, spool: Spool) -> None:
        self.id = session_id
        self.intent = intent
        self._spool = spool
        self._lock = threading.RLock()
        self._stored: StoredObject | None = None
        self._ended: ApiError | None = None

    @property
    def persisted(self) -> int:
        """How many bytes are safe."""
        return self._spool.size

    @property
    def is_open(self) -> bool:
        """Whether more bytes could still make an object of it."""
        return self._stored is None and self._ended is None

    def result(self) -> StoredObject | None:
        """Return the finished object; None while the session is open; raise when it is dead."""
        with self._lock:
            if self._ended:
                raise self._ended
            return self._stored

    def check_total(self, total: int | None) -> None:
        """Refuse a size other than the one declared when the session was opened."""
        if total is not None and self.intent.size not in {None, total}:
            raise invalid(f"The upload was declared to have {self.intent.size} bytes, not {total}.")

    def receive(self, pieces: Iterator[bytes], content_range: ContentRange) -> tuple[int, bytes]:
        """Persist whole steps as they arrive.

        Return where the bytes ended, and those after the last whole step. Whatever interrupts
        `pieces`, the steps before the interruption are kept.
        """
        at = content_range.first or 0
        if at > self.persisted:
            raise ApiError(503, "backendError", "The bytes before this chunk are not persisted.")
        skip = self.persisted - at
        at = self.persisted
        pending = bytearray()
        for piece in _limited(pieces, content_range):
            dropped = min(skip, len(piece))
            skip -= dropped
            pending += memoryview(piece)[dropped:]
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
        """Append the tail and commit. A refusal ends the session, unless it is about the rate."""
        with self._lock:
            if stored := self.result():
                return stored
            self._persist(at, tail)
            try:
                self._stored = commit(self._spool.content())
            except ApiError as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                    self._end(error)
                raise
            return self._stored

    def cancel(self) -> None:
        """End the session; a finished object stays as it is, and so does a refusal."""
        with self._lock:
            if self._stored:
                raise not_found("The upload is finished already.")
            if self._ended is None:
                self._end(cancelled())

    def _end(self, error: ApiError) -> None:
        self._ended = error
        self._spool.discard()


class Sessions:
    """All sessions by id. Ended ones are remembered: their answers must not change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, intent: Intent, spool: Spool) -> Session:
        """Start a session."""
        session = Session(secrets.token_urlsafe(24), intent, spool)
        with self._lock:
            self._sessions[session.id] = session
        return session

    def get(self, session_id: str) -> Session:
        """Return a session that was started here."""
        with self._lock:
            session = self._sessions.get(session_id)
        if session is None:
            raise not_found("No such upload session.")
        return session

    def open_ones(self) -> list[Session]:
        """Return the sessions nobody has ended."""
        with self._lock:
            return [session for session in self._sessions.values() if session.is_open]


def cancelled() -> ApiError:
    """Return the answer to a cancellation, and to whatever is asked of the session after it."""
    return ApiError(499, "clientClosedRequest", "The upload was cancelled.")


def _limited(pieces: Iterator[bytes], content_range: ContentRange) -> Iterator[bytes]:
    """Yield the pieces; refuse a body with more bytes than its range has."""
    if content_range.end is None:
        yield from pieces
        return
    left = content_range.end - (content_range.first or 0)
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise invalid("The body has more bytes than its Content-Range.")
        yield piece
