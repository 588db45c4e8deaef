"""Compare S3 and GCS from outside, with nothing of the function's own: SDKs, bytes, CRC32C."""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import google_crc32c
from google.cloud import storage

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one side holds. The CRC32C is computed here, from the bytes as they were downloaded."""

    size: int
    crc32c: str
    content_type: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One name on both sides; None where a side has no such object."""

    name: str
    source: Content | None
    replica: Content | None

    @property
    def equal(self) -> bool:
        """Whether bytes and type are equal, and all user metadata arrived."""
        if not (self.source and self.replica):
            return False
        return (
            self.source.size == self.replica.size
            and self.source.crc32c == self.replica.crc32c
            and self.source.content_type == self.replica.content_type
            and self.source.metadata.items() <= self.replica.metadata.items()
        )


def audit(
    s3: "S3Client", buckets: Iterable[str], replica: storage.Bucket, prefix: str = ""
) -> list[Pair]:
    """Download everything below `prefix` on both sides, and pair it by name."""
    sources = {
        key: _source(s3, bucket, key) for bucket in buckets for key in _keys(s3, bucket, prefix)
    }
    replicas = {blob.name: _replica(blob) for blob in replica.list_blobs(prefix=prefix)}
    return [
        Pair(name=name, source=sources.get(name), replica=replicas.get(name))
        for name in sorted(sources.keys() | replicas.keys())
    ]


class _Crc32c:
    """A file to download into that keeps only size and checksum."""

    def __init__(self) -> None:
        self._checksum = google_crc32c.Checksum()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._checksum.update(data)
        self.size += len(data)
        return len(data)

    def base64(self) -> str:
        return base64.b64encode(self._checksum.digest()).decode()


def _keys(s3: "S3Client", bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def _source(s3: "S3Client", bucket: str, key: str) -> Content:
    answer = s3.get_object(Bucket=bucket, Key=key)
    sink = _Crc32c()
    for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
        sink.write(chunk)
    return Content(
        size=sink.size,
        crc32c=sink.base64(),
        content_type=answer["ContentType"],
        metadata=answer["Metadata"],
    )


def _replica(blob: storage.Blob) -> Content:
    sink = _Crc32c()
    blob.download_to_file(sink, raw_download=True)  # raw: a gzip object's bytes as they are stored
    return Content(
        size=sink.size,
        crc32c=sink.base64(),
        content_type=blob.content_type,
        metadata=blob.metadata or {},
    )
