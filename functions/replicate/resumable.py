"""One large object through one resumable session, without a barrier per chunk and in flat memory.

Everything but a tail is streamed in one PUT. The tail is held back until the source's checksum has
agreed; it is sent with the CRC32C of the whole object, so that GCS refuses anything else before it
becomes visible. What breaks is continued at the offset that GCS says it holds; bytes in front of it
are read again from S3 instead of being kept. Source: "Resumable uploads" in GCS's documentation.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from replicate import gcs_json
from replicate.connections import BrokenConnectionError, Response
from replicate.deadline import MARGIN_S, Deadline
from replicate.errors import (
    CredentialsError,
    DestinationUnavailableError,
    OutOfTimeError,
    ThrottledError,
)
from replicate.gcs_client import GcsClient, broken, refuse
from replicate.http1 import Buffer
from replicate.integrity import encode_crc32c
from replicate.objects import Replica
from replicate.ports import CheckedBody
from replicate.retry import Patience, retrying

QUANTUM = 256 * 1024
"""GCS keeps multiples of this, except at an object's end."""

BUFFER_BYTES = 1024 * 1024

_RANGE = re.compile(r"bytes=0-(\d+)")


class ResumableUpload:
    """One upload of one body. `answer_lost` says whether it may have been carried out unseen."""

    def __init__(
        self,
        client: GcsClient,
        target: str,
        resource: Mapping[str, Any],
        body: CheckedBody,
        deadline: Deadline,
        uri: str,
    ) -> None:
        self._client = client
        self._target = target
        self._resource = resource
        self._body = body
        self._deadline = deadline
        self._uri = uri
        self._size = body.object.size
        self._tail_at = (self._size - 1) // QUANTUM * QUANTUM
        self._session = ""
        self._tail: memoryview | None = None
        self.answer_lost = False

    def run(self) -> Replica:
        """Raises DestinationChangedError, SourceChangedError, ReplicationError; then cancels."""
        self._session = retrying(self._start, self._deadline)
        try:
            return self._transfer()
        except BaseException:
            self._cancel()
            raise

    def _start(self) -> str:
        """Open a session: the path it is reached under, a secret of its own."""
        with self._client.request(
            "POST",
            self._target,
            self._deadline,
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Length": str(self._size),
            },
            body=[json.dumps(self._resource).encode()],
        ) as response:
            if response.status != HTTPStatus.OK:
                refuse(response, self._uri)
            location = urlsplit(response.headers.get("Location", ""))
            if not location.query:
                raise DestinationUnavailableError(
                    f"GCS opened no session for {self._uri}. Try again."
                )
        return f"{location.path}?{location.query}"

    def _transfer(self) -> Replica:
        """Send what GCS does not hold yet, until it holds everything."""
        patience = Patience(self._deadline)
        held = 0
        while True:
            try:
                answer = self._send(held) if held < self._tail_at else self._finish(held)
            except (DestinationUnavailableError, ThrottledError, CredentialsError) as error:
                patience.failed(error)
                answer = retrying(self._ask, self._deadline)
            if isinstance(answer, Replica):
                return answer
            if answer > held:
                patience.progressed()
            held = answer

    def _send(self, offset: int) -> int | Replica:
        """Stream everything from `offset` to the tail in one request."""
        self._body.rewind(offset)
        buffer = memoryview(bytearray(min(BUFFER_BYTES, self._tail_at - offset)))
        headers = {
            **self._client.authorization(self._deadline),
            "Content-Length": str(self._tail_at - offset),
            "Content-Range": f"bytes {offset}-{self._tail_at - 1}/{self._size}",
        }
        try:
            with self._client.connections.upload(
                "PUT", self._session, headers, self._deadline
            ) as upload:
                while offset < self._tail_at:
                    self._deadline.require()
                    piece = buffer[: self._tail_at - offset]
                    piece = piece[: self._body.readinto(piece)]
                    upload.send(piece)
                    offset += len(piece)
                answer = self._state(upload.response())
        except BrokenConnectionError as error:
            raise broken(error) from error
        if answer == 0:
            raise DestinationUnavailableError(f"GCS kept nothing of {self._uri}. Try again.")
        return answer

    def _finish(self, offset: int) -> int | Replica:
        """Send the tail, now that the source's checksum agreed. This makes the object visible."""
        tail = self._checked_tail()[offset - self._tail_at :]
        sent = f"bytes {offset}-{self._size - 1}/{self._size}"
        try:
            return self._state(self._put({"Content-Range": sent, **self._hash()}, [tail]))
        except DestinationUnavailableError:
            self.answer_lost = True
            raise

    def _ask(self) -> int | Replica:
        """How many bytes GCS holds; or the object, when it is complete.

        Asking may complete it, if GCS has all bytes: so the hash must be said here as well.
        """
        return self._state(self._put({"Content-Range": f"bytes */{self._size}", **self._hash()}))

    def _hash(self) -> dict[str, str]:
        """What GCS is to hold the whole object to, as soon as that is known."""
        if self._tail is None:
            return {}
        return {"X-Goog-Hash": f"crc32c={encode_crc32c(self._body.crc32c)}"}

    def _put(self, headers: Mapping[str, str], body: Sequence[Buffer] = ()) -> Response:
        return self._client.request(
            "PUT", self._session, self._deadline, headers=headers, body=body
        )

    def _state(self, response: Response) -> int | Replica:
        """What an answer of the session says of it."""
        with response:
            if response.status == HTTPStatus.PERMANENT_REDIRECT:
                held = _RANGE.fullmatch(response.headers.get("Range", ""))
                return int(held[1]) + 1 if held else 0
            if response.status in {HTTPStatus.OK, HTTPStatus.CREATED}:
                try:
                    return gcs_json.replica(response)
                except BrokenConnectionError as error:
                    raise broken(error) from error
            if response.status == HTTPStatus.NOT_FOUND:
                raise DestinationUnavailableError(
                    f"GCS no longer knows the upload of {self._uri}. Try again."
                )
            refuse(response, self._uri)

    def _checked_tail(self) -> memoryview:
        """The bytes held back. Raises IntegrityError, if any byte of the object was not right."""
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
        with contextlib.suppress(BrokenConnectionError, OutOfTimeError):
            self._client.connections.request(
                "DELETE", self._session, {"Content-Length": "0"}, Deadline(MARGIN_S / 2)
            ).close()
