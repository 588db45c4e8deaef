"""Requests with `Content-Encoding: gzip`, decompressed as they arrive.

GCS decompresses what arrives with this header, and stores the bytes uncompressed. One resumable
chunk is one gzip member. Source: "gsutil cp -J", and what Google's command lines send.
"""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress

from tools.local.gcs.errors import ApiError, invalid
from tools.local.gcs.spool import CHUNK_BYTES

_GZIP = 31  # `wbits` of zlib: header and trailer of gzip, and the largest window


def inflated(chunks: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yield the bytes of exactly one gzip member; raise at anything else, after what decodes.

    At its end zlib compares the CRC32 and the size that the member states.
    """
    member = zlib.decompressobj(_GZIP)
    for chunk in chunks:
        more = chunk
        while more:
            if member.eof:
                raise invalid("Bytes follow the gzip member of the request body.")
            try:
                data = member.decompress(more, CHUNK_BYTES)
            except zlib.error as error:
                raise invalid(f"The request body is not gzip: {error}") from error
            if data:
                yield data
            more = member.unconsumed_tail or member.unused_data
    while data := member.decompress(b"", CHUNK_BYTES):  # what did not fit into the last piece
        yield data
    if not member.eof:
        raise invalid("The gzip member of the request body is truncated.")


def anything(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield `size` bytes: what decodes, without the rest, filled up with zeros. GCS might."""
    left = size
    decoded = inflated(chunks)
    with suppress(ApiError):
        while left and (data := next(decoded, b"")):
            yield data[:left]
            left -= min(left, len(data))
    while left:
        yield bytes(min(left, CHUNK_BYTES))
        left -= min(left, CHUNK_BYTES)
