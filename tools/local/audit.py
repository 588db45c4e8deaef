"""Compare S3 and GCS without the function's code: SDKs, bytes, CRC32C."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An object on one side. The CRC32C is computed here, from the downloaded bytes."""

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
        """Whether bytes and type are equal, and the replica has all user metadata."""
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
    """Download every object below `prefix` on both sides, and pair them by name."""
    sources = {
        key: _source(s3, bucket, key) for bucket in buckets for key in _keys(s3, bucket, prefix)
    }
    replicas = {blob.name: _replica(blob) for blob in replica.list_blobs(prefix=prefix)}
    return [
        Pair(name=name, source=sources.get(name), replica=replicas.get(name))
        for name in sorted(sources.keys() | replicas.keys())
    ]


def crc32c(data: bytes) -> str:
    """Return the checksum as GCS formats it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _keys(s3: "S3Client", bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def _source(s3: "S3Client", bucket: str, key: str) -> Content:
    found = s3.get_object(Bucket=bucket, Key=key)
    return _content(found["Body"].read(), found["ContentType"], found["Metadata"])


def _replica(blob: storage.Blob) -> Content:
    data = blob.download_as_bytes(raw_download=True)  # raw: the bytes as stored, also of gzip
    return _content(data, blob.content_type, blob.metadata or {})


def _content(data: bytes, content_type: str, metadata: Mapping[str, str]) -> Content:
    return Content(
        size=len(data), crc32c=crc32c(data), content_type=content_type, metadata=metadata
    )
