"""Upload the bytes of one object as gzip. GCS stores them uncompressed.

Each PUT sends the next chunk of the body as one complete gzip member, in the form of Google's own
command line: `Content-Encoding: gzip` and the object's type on the request, and offsets that count
uncompressed bytes, in `Content-Range` as in GCS's `Range`. Nothing documents that GCS compares a
hash with the bytes of such an upload before the object becomes visible. So none is sent, and the
caller compares. Two differences are left: these requests carry no token, because the session URI
is authorization enough, and a chunk has 16 MiB at most, where `gcloud` sends 100 MiB of gzip.

Source: `transfer.py` of google/apitools, which `gcloud storage cp --gzip-in-flight-all` uses.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from replicate.errors import DestinationRejectedError, IntegrityError
from replicate.gcs.resumable_upload import ResumableUpload
from replicate.gzip_member import GzipMember
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import Replica

PIECE_BYTES = 1024 * 1024
"""Bytes that are read and compressed at a time.

Chosen, not measured: as much as an upload that is not compressed holds (streamed_upload).
"""

CHUNK_PIECES = 16
"""Most pieces of one chunk. Google's command line compresses blocks of 16 MiB.

Measured together with PIECE_BYTES and CHUNK_BYTES: one object in four parts takes at most 115 MiB
of memory (docs/PERFORMANCE.md, "Compressed egress").
"""

CHUNK_BYTES = 4 * 1024 * 1024
"""A chunk ends when it has so many compressed bytes, because they are held in memory."""

AT_ONCE = 16
"""Chunks that the process holds at the same time, of all its uploads. The others wait.

Each takes up to 7 MiB. Measured with ten objects of 256 MiB of numbers in one event, in four parts
each: without this limit the function used 418 MiB of memory, with it 279, and 184 when nothing was
compressed. One object has four parts at a time, and never waits.
"""

_places = threading.BoundedSemaphore(AT_ONCE)


class CompressedUpload(ResumableUpload):
    """Sends the body in chunks, each as one gzip member."""

    bytes_sent = 0
    """Bytes of members that were handed to a connection, whatever became of them there."""

    def _send_from(self, offset: int) -> int | Replica:
        try:
            return self._send_chunk(offset) if offset < self._size else self._ask_to_complete()
        except DestinationRejectedError as error:
            raise IntegrityError(
                f"GCS does not accept compressed bytes of {self._uri}: {error.message} Nothing was"
                " written. Try again. If the error stays, set CompressEgress"
                " (COMPRESS_EGRESS) to false."
            ) from None

    def _send_chunk(self, offset: int) -> int | Replica:
        """Send one chunk. The last one completes the object."""
        with self._place():
            data, end = self._compress(offset)
            kind = self._attributes.content_type or "application/octet-stream"
            gzip = {"Content-Encoding": "gzip", "Content-Type": kind}
            sent = f"{offset}-{end - 1}"
            try:
                if end < self._size:
                    return self._put(data, {"Content-Range": f"bytes {sent}/{self._size}", **gzip})
                self._body.verify()
                return self._complete(data, sent, gzip)
            finally:
                self.bytes_sent += data.handed_over

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Wait until the process may hold one more chunk. Raise OutOfTimeError."""
        while not _places.acquire(timeout=min(1.0, self._deadline.remaining())):
            self._deadline.require()
        try:
            yield
        finally:
            _places.release()

    def _ask_to_complete(self) -> int | Replica:
        """Complete an upload of which GCS has all bytes, but has not made the object."""
        self._body.verify()
        return self._complete(b"", "*", {})

    def _compress(self, offset: int) -> tuple["_Pieces", int]:
        """Compress the next chunk. Return the member, and the offset where the chunk ends."""
        self._body.rewind(offset)
        member = GzipMember()
        buffer = memoryview(bytearray(min(PIECE_BYTES, self._size - offset)))
        end = offset
        chunk_end = min(offset + CHUNK_PIECES * PIECE_BYTES, self._size)
        while end < chunk_end and len(member) < CHUNK_BYTES:
            self._deadline.require()
            piece = buffer[: chunk_end - end]
            self._fill(piece)
            member.add(piece)
            end += len(piece)
        return _Pieces(member.close(), self._deadline), end

    def _fill(self, piece: memoryview) -> None:
        """Read the next bytes of the body. Raise IntegrityError if there are too few."""
        while len(piece):
            count = self._body.readinto(piece)
            if not count:
                raise IntegrityError(
                    f"S3 sent too few bytes for {self._uri}. Nothing was written; try again."
                )
            piece = piece[count:]


class _Pieces:
    """The body of one PUT, in pieces: each has the whole timeout, and none is sent too late."""

    def __init__(self, data: memoryview, deadline: Deadline) -> None:
        self._data = data
        self._deadline = deadline
        self.handed_over = 0

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, len(self._data), PIECE_BYTES):
            self._deadline.require()
            piece = self._data[start : start + PIECE_BYTES]
            self.handed_over += len(piece)
            yield piece
