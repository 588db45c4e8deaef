"""One large object through one resumable session, without a barrier per chunk and in flat memory.

google-cloud-storage opens the session; its own upload would hold each chunk in memory and could
neither wait for the source's checksum nor be cancelled. Everything but a tail is streamed in one
PUT. The tail is held back until the source's checksum has agreed; it is sent with the CRC32C of the
whole object, so that GCS refuses anything else before it becomes visible. An upload that breaks is
continued at the offset that GCS says it holds; bytes in front of it are read again from S3 instead
of being kept. Source: "Resumable uploads" in GCS's documentation.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import requests

from replicate.errors import CredentialsError, DestinationUnavailableError, ThrottledError
from replicate.gcs.errors import MALFORMED, malformed, refusal, unreachable
from replicate.protocol.checksums import encode_crc32c
from replicate.protocol.deadline import MARGIN_S, Deadline
from replicate.protocol.model import Attributes, Replica
from replicate.protocol.ports import GatedBody
from replicate.retry import Backoff, RetryPolicy, retrying

QUANTUM = 256 * 1024
"""GCS keeps multiples of this, except at an object's end."""

BUFFER_BYTES = 1024 * 1024
"""One read from S3 and one write to GCS; what is larger takes more memory and no less CPU."""

_RANGE = re.compile(r"bytes=0-(\d+)")


class _SessionGoneError(Exception):
    """GCS no longer knows the session: it expired, or was never stored."""


class ResumableUpload:
    """One upload of one body. `response_lost` says whether it may have succeeded unseen."""

    def __init__(
        self,
        *,
        name: str,
        uri: str,
        attributes: Attributes,
        body: GatedBody,
        open_session: Callable[[], str],
        http: requests.Session,
        deadline: Deadline,
        policy: RetryPolicy,
    ) -> None:
        self._name = name
        self._uri = uri
        self._attributes = attributes
        self._body = body
        self._open_session = open_session
        self._http = http
        self._deadline = deadline
        self._policy = policy
        self._size = body.size
        self._tail_at = (self._size - 1) // QUANTUM * QUANTUM
        self._session = ""
        self._tail: memoryview | None = None
        self.response_lost = False

    def run(self) -> Replica:
        """Upload, and cancel the session when that fails.

        Raises DestinationChangedError, SourceChangedError, ReplicationError.
        """
        backoff = Backoff(self._policy, self._deadline)
        while True:
            self._session = retrying(self._open_session, self._policy, self._deadline)
            try:
                return self._transfer()
            except _SessionGoneError:
                backoff.failed(
                    DestinationUnavailableError(
                        f"GCS no longer knows the upload of {self._uri}. Try again."
                    )
                )
            except BaseException:
                self._cancel()
                raise

    def _transfer(self) -> Replica:
        """Send what GCS does not hold yet, until it holds everything.

        The session's address authorizes by itself: a 401 is trouble that passes.
        """
        backoff = Backoff(self._policy, self._deadline)
        held = 0
        while True:
            try:
                state = self._send(held) if held < self._tail_at else self._finish(held)
            except (DestinationUnavailableError, ThrottledError, CredentialsError) as error:
                backoff.failed(error)
                state = retrying(self._ask, self._policy, self._deadline)
            if isinstance(state, Replica):
                return state
            if state > held:
                backoff.progressed()
            held = state

    def _send(self, offset: int) -> int | Replica:
        """Stream everything from `offset` to the tail in one request."""
        self._body.rewind(offset)
        state = self._put(
            _Pieces(self._body, self._tail_at - offset, self._deadline),
            {"Content-Range": f"bytes {offset}-{self._tail_at - 1}/{self._size}"},
        )
        if state == 0:
            raise DestinationUnavailableError(f"GCS kept nothing of {self._uri}. Try again.")
        return state

    def _finish(self, offset: int) -> int | Replica:
        """Send the tail, now that the source's checksum agreed. This makes the object visible."""
        tail = self._checked_tail()[offset - self._tail_at :]
        sent = f"{offset}-{self._size - 1}" if tail else "*"
        try:
            return self._put(
                bytes(tail),
                {
                    "Content-Range": f"bytes {sent}/{self._size}",
                    "X-Goog-Hash": f"crc32c={encode_crc32c(self._body.crc32c)}",
                },
            )
        except DestinationUnavailableError:
            self.response_lost = True
            raise

    def _ask(self) -> int | Replica:
        """Ask how many bytes GCS holds; it returns the object when it is complete.

        The question names no size. If it did, it would complete an upload of which GCS holds all
        bytes, and nothing would hold these to their checksum.
        """
        return self._put(b"", {"Content-Range": "bytes */*"})

    def _put(self, data: "_Pieces | bytes", headers: Mapping[str, str]) -> int | Replica:
        """Send one request to the session and read what it says of it."""
        try:
            response = self._http.put(
                self._session,
                data=data,  # type: ignore[arg-type] # buffers are sent as they are
                headers={**headers, "Content-Length": str(len(data))},
                timeout=self._deadline.limit(self._policy.io_timeout_s),
                allow_redirects=False,  # 308 says how far the upload got
            )
        except (requests.RequestException, OSError) as error:
            raise unreachable(error) from None  # its text holds the session's address
        return self._state(response)

    def _state(self, response: requests.Response) -> int | Replica:
        """Return how many bytes GCS holds, or the object."""
        status = response.status_code
        if status == HTTPStatus.PERMANENT_REDIRECT:
            held = _RANGE.fullmatch(response.headers.get("Range", ""))
            return int(held[1]) + 1 if held else 0
        if status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            return self._replica(response)
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise _SessionGoneError
        raise refusal(response, self._uri)

    def _replica(self, response: requests.Response) -> Replica:
        try:
            found: Mapping[str, Any] = response.json()
            return Replica(
                name=self._name,
                generation=int(found["generation"]),
                metageneration=int(found["metageneration"]),
                size=int(found["size"]),
                attributes=self._attributes,
                crc32c=found["crc32c"],
                md5=found.get("md5Hash"),
                request_id=response.headers.get("X-GUploader-UploadID"),
            )
        except MALFORMED as error:
            raise malformed(error) from None

    def _checked_tail(self) -> memoryview:
        """Return the bytes held back. Raises IntegrityError, if any byte of the object is wrong."""
        if self._tail is None:
            self._body.rewind(self._tail_at)
            tail = memoryview(bytearray(self._size - self._tail_at))
            self._body.readinto(tail)
            self._body.verify()
            self._tail = tail
        return self._tail

    def _cancel(self) -> None:
        """Tell GCS to forget the session: an open one is invisible, but lives for a week.

        Its address is authorization enough; a token may be the very thing that could not be had.
        """
        with contextlib.suppress(requests.RequestException, OSError):
            self._http.delete(self._session, headers={"Content-Length": "0"}, timeout=MARGIN_S / 2)


class _Pieces:
    """The body of one PUT, read from the source as it is sent.

    `requests` takes an object with a length as it is; a file it would read in pieces of 16 KiB.
    """

    def __init__(self, body: GatedBody, size: int, deadline: Deadline) -> None:
        self._body = body
        self._size = size
        self._deadline = deadline

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        """Yield pieces of one buffer; each is sent before the next is read."""
        buffer = memoryview(bytearray(min(BUFFER_BYTES, self._size)))
        left = self._size
        while left:
            self._deadline.require()
            piece = buffer[: min(left, len(buffer))]
            piece = piece[: self._body.readinto(piece)]
            if not piece:
                return  # shorter than promised: the request breaks off, and `verify` says why
            yield piece
            left -= len(piece)
