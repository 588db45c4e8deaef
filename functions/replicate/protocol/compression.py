"""Which bytes travel to GCS as gzip. GCS stores them uncompressed."""

from replicate.protocol.model import SourceObject
from replicate.protocol.ports import Body, CompressedSize

PROBE_BYTES = 1024 * 1024
"""The first bytes of each part are compressed to find out whether that pays.

Measured: with random bytes, which do not shrink, the copy takes no more CPU than without the probe
(docs/PERFORMANCE.md, "Compressed egress"). Fewer bytes were not tried.
"""

LEAST_RATIO = 1.1
"""A part whose first bytes shrink less travels as it is.

Chosen, not measured: to compress costs at most 0.2 % of what the egress costs (docs/PERFORMANCE.md,
"Compressed egress"), so a lower ratio would pay too. But the rest of a part may shrink less.
"""

_COMPRESSED_ENCODINGS = frozenset(
    {"br", "compress", "deflate", "dcb", "dcz", "gzip", "x-compress", "x-gzip", "zstd"}
)
"""Source: "HTTP Content Coding Registry" of IANA."""

_COMPRESSIBLE_MEDIA = frozenset(
    {
        *("image/svg+xml", "image/bmp", "image/x-ms-bmp", "image/tiff", "image/x-icon"),
        *("image/vnd.microsoft.icon", "image/vnd.adobe.photoshop", "image/x-portable-anymap"),
        *("audio/wav", "audio/x-wav", "audio/vnd.wave", "audio/midi"),
    }
)
"""Images and sounds without a compression of their own, or with one that may be switched off."""

_COMPRESSED_TYPES = frozenset(
    f"application/{name}"
    for name in (
        *("gzip", "x-gzip", "x-gtar-compressed", "x-tgz", "x-compressed-tar", "zip", "x-zip"),
        *("x-zip-compressed", "zstd", "x-zstd", "x-bzip", "x-bzip2", "x-xz", "x-lzma", "x-lz4"),
        *("x-compress", "x-lzip", "x-snappy-framed", "x-brotli", "x-7z-compressed", "vnd.rar"),
        *("x-rar-compressed", "x-rar", "java-archive", "vnd.android.package-archive", "epub+zip"),
        *("vnd.apache.parquet", "x-parquet", "parquet", "vnd.apache.orc", "x-orc", "orc"),
    )
)
"""Formats that are compressed by definition or in practice.

Source: the types that `file --mime-type` and shared-mime-info give to these formats, and IANA's
"Media Types". A type that is missing here costs 2 ms: the first MiB is compressed for nothing.
"""


def may_shrink(source: SourceObject) -> bool:
    """Return whether the description of an object does not say that it is compressed.

    Office documents, Avro and PDF may or may not be: their first bytes tell.
    """
    encodings = {name.strip() for name in (source.content_encoding or "").lower().split(",")}
    media, _, _ = (source.content_type or "").lower().partition(";")
    media = media.strip()
    is_compressed = media in _COMPRESSED_TYPES or (
        media.startswith(("image/", "audio/", "video/", "font/woff"))
        and media not in _COMPRESSIBLE_MEDIA
    )
    return not is_compressed and not encodings & _COMPRESSED_ENCODINGS


_NOTHING = memoryview(b"")


class Probe:
    """A body whose first bytes were read ahead. They are not read from S3 again."""

    def __init__(self, body: Body, size: int, compressed_size: CompressedSize) -> None:
        """Read the first bytes of a body of `size` bytes, and compress them."""
        self._body = body
        data = memoryview(bytearray(min(size, PROBE_BYTES)))
        self._ahead = data[: body.readinto(data)]
        self._position = 0
        self.shrinks = compressed_size(self._ahead) * LEAST_RATIO <= len(self._ahead)
        """Whether it pays to compress the body."""

    @property
    def object(self) -> SourceObject:
        """See `Body.object`."""
        return self._body.object

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`. The first bytes are dropped when later ones are read."""
        piece = self._ahead[self._position : self._position + len(buffer)]
        count = len(piece)
        buffer[:count] = piece
        self._position += count
        if count == len(buffer):
            return count
        self._ahead = _NOTHING
        return count + self._body.readinto(buffer[count:])

    def rewind(self, offset: int) -> None:
        """See `Body.rewind`."""
        if self._ahead and offset <= len(self._ahead):
            self._position = offset
        else:
            self._ahead = _NOTHING
            self._body.rewind(offset)
