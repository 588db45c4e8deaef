"""Upload one stream of any length as it is, with constant memory.

One PUT streams all bytes except the tail, which has at most 256 KiB. A second PUT sends the tail
when the bytes have matched the source's checksum. It carries the CRC32C of the whole object, so GCS
refuses an object with other bytes before it becomes visible. No bytes are kept in memory: those
that GCS did not store are read from S3 again.
"""

from collections.abc import Iterator

from replicate.gcs.errors import mark_aws_errors
from replicate.gcs.resumable_upload import QUANTUM, ResumableUpload
from replicate.protocol.checksums import encode_crc32c
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import Replica
from replicate.protocol.ports import GatedBody

BUFFER_BYTES = 1024 * 1024
"""Size of the one buffer between S3 and GCS. With it a copy of any size takes 86 MiB of memory.

A larger buffer does not save calls, because Python's `ssl` reads at most one TLS record of 16 KiB
in a call. Source: docs/PERFORMANCE.md.
"""


class StreamedUpload(ResumableUpload):
    """Sends the body as one stream, and then its tail."""

    _tail: memoryview | None = None

    @property
    def _tail_offset(self) -> int:
        return (self._size - 1) // QUANTUM * QUANTUM

    def _send_from(self, offset: int) -> int | Replica:
        return (self._send_body if offset < self._tail_offset else self._send_tail)(offset)

    def _send_body(self, offset: int) -> int | Replica:
        """Stream the bytes from `offset` to the tail in one request."""
        self._body.rewind(offset)
        return self._put(
            _RequestBody(self._body, self._tail_offset - offset, self._deadline),
            {"Content-Range": f"bytes {offset}-{self._tail_offset - 1}/{self._size}"},
        )

    def _send_tail(self, offset: int) -> int | Replica:
        """Verify all bytes and send the tail. This makes the object visible."""
        tail = self._verified_tail()[offset - self._tail_offset :]
        sent = f"{offset}-{self._size - 1}" if tail else "*"
        crc32c = encode_crc32c(self._body.crc32c)
        return self._complete(bytes(tail), sent, {"X-Goog-Hash": f"crc32c={crc32c}"})

    def _verified_tail(self) -> memoryview:
        """Return the tail. Raise IntegrityError if the bytes do not match their checksum."""
        if self._tail is None:
            self._body.rewind(self._tail_offset)
            tail = memoryview(bytearray(self._size - self._tail_offset))
            self._body.readinto(tail)
            self._body.verify()
            self._tail = tail
        return self._tail


class _RequestBody:
    """The body of one PUT. It is read from the source while `requests` sends it.

    It is an iterable with a length. From a file `requests` would read pieces of 16 KiB.
    """

    def __init__(self, body: GatedBody, size: int, deadline: Deadline) -> None:
        self._body = body
        self._size = size
        self._deadline = deadline

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        """Yield slices of one buffer. Each slice is sent before the next one is read."""
        buffer = memoryview(bytearray(min(BUFFER_BYTES, self._size)))
        left = self._size
        while left:
            self._deadline.require()
            piece = buffer[: min(left, len(buffer))]
            with mark_aws_errors():
                piece = piece[: self._body.readinto(piece)]
            if not piece:
                return  # too few bytes: the request fails, and `verify` raises IntegrityError
            yield piece
            left -= len(piece)
