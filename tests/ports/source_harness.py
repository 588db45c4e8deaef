"""Harness for the contract of `Source`: the port, and what the owner of a bucket does.

Each harness has one bucket. The owner writes to it without the code under test.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from email.header import Header
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from fakes import FakeS3, Upload
from ports.clouds import Adapters, Clouds

from replicate.protocol.mapping import Tags
from replicate.protocol.model import SourceRef
from replicate.protocol.plan import Policy
from replicate.protocol.ports import Source

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CompletedPartTypeDef

MIN_PART_BYTES = 5 * 1024 * 1024
"""S3 accepts no smaller part, except for the last one."""


class SourceHarness(Protocol):
    """A bucket in S3."""

    @property
    def source(self) -> Source: ...

    @property
    def tagging_source(self) -> Source:
        """The source under a policy that replicates tags."""

    def ref(self, key: str) -> SourceRef:
        """Return the reference of an object in this bucket."""

    def now(self) -> datetime:
        """Return the time on S3's clock."""

    def enable_versioning(self) -> None: ...

    def upload(self, key: str, upload: Upload) -> None: ...

    def set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace the tags of the current version."""

    def delete(self, key: str) -> None:
        """Delete without a version id."""

    def drop_newest(self, key: str) -> None:
        """Delete the newest version, or the delete marker, for good."""


class MemorySource:
    """The harness for the fake."""

    def __init__(self) -> None:
        self._s3 = FakeS3()

    @property
    def source(self) -> Source:
        self._s3.reads_tags = False
        return self._s3

    @property
    def tagging_source(self) -> Source:
        self._s3.reads_tags = True
        return self._s3

    def ref(self, key: str) -> SourceRef:
        return SourceRef("source", key)

    def now(self) -> datetime:
        return self._s3.now

    def enable_versioning(self) -> None:
        self._s3.versioned = True

    def upload(self, key: str, upload: Upload) -> None:
        self._s3.upload(self.ref(key), upload)

    def set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        self._s3.set_tags(self.ref(key), tags)

    def delete(self, key: str) -> None:
        self._s3.delete(self.ref(key))

    def drop_newest(self, key: str) -> None:
        self._s3.drop_newest(self.ref(key))


class RealSource:
    """The harness for the real adapter and a new bucket in moto."""

    def __init__(self, clouds: Clouds, adapters: Adapters) -> None:
        self._s3 = clouds.s3
        self._adapters = adapters
        self._bucket = f"ports-{uuid.uuid4().hex}"
        self._s3.create_bucket(Bucket=self._bucket)
        self.source: Source = adapters.replicator().source

    @property
    def tagging_source(self) -> Source:
        return self._adapters.replicator(Policy(tags=Tags.CONTEXTS)).source

    def ref(self, key: str) -> SourceRef:
        return SourceRef(self._bucket, key)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def enable_versioning(self) -> None:
        self._s3.put_bucket_versioning(
            Bucket=self._bucket, VersioningConfiguration={"Status": "Enabled"}
        )

    def upload(self, key: str, upload: Upload) -> None:
        parameters = _request(upload)
        if not upload.part_sizes:
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=upload.data, **parameters)
            return
        checksum_parameters = {"ChecksumAlgorithm": upload.checksum} if upload.checksum else {}
        if upload.full_object:
            parameters["ChecksumType"] = "FULL_OBJECT"
        upload_id = self._s3.create_multipart_upload(Bucket=self._bucket, Key=key, **parameters)[
            "UploadId"
        ]
        parts: list[CompletedPartTypeDef] = []
        offset = 0
        for number, size in enumerate(upload.part_sizes, 1):
            response: Any = self._s3.upload_part(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=upload.data[offset : offset + size],
                **checksum_parameters,  # type: ignore[arg-type]
            )
            parts.append({"PartNumber": number, "ETag": response["ETag"]})
            offset += size
        self._s3.complete_multipart_upload(
            Bucket=self._bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )

    def set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        if not tags:  # moto fails when it puts an empty set
            self._s3.delete_object_tagging(Bucket=self._bucket, Key=key)
            return
        tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
        self._s3.put_object_tagging(
            Bucket=self._bucket,
            Key=key,
            Tagging={"TagSet": tag_set},  # type: ignore[typeddict-item]
        )

    def delete(self, key: str) -> None:
        self._s3.delete_object(Bucket=self._bucket, Key=key)

    def drop_newest(self, key: str) -> None:
        listing = self._s3.list_object_versions(Bucket=self._bucket, Prefix=key)
        listed: list[Any] = [*listing.get("Versions", []), *listing.get("DeleteMarkers", [])]
        newest = next(item for item in listed if item["IsLatest"] and item["Key"] == key)
        self._s3.delete_object(Bucket=self._bucket, Key=key, VersionId=newest["VersionId"])


def _request(upload: Upload) -> dict[str, Any]:
    """Return the parameters of PutObject and CreateMultipartUpload that describe an object."""
    parameters = {
        "ContentType": upload.content_type,
        "CacheControl": upload.cache_control,
        "ContentDisposition": upload.content_disposition,
        "ContentEncoding": upload.content_encoding,
        "ContentLanguage": upload.content_language,
        "Metadata": {name: _ascii(value) for name, value in upload.metadata.items()},
        "Tagging": urlencode(upload.tags) or None,
        "StorageClass": upload.storage_class,
        "ChecksumAlgorithm": upload.checksum,
        "ServerSideEncryption": "aws:kms" if upload.kms else None,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _ascii(value: str) -> str:
    """Encode a value as S3 returns it, because moto does not."""
    return value if value.isascii() else Header(value, "utf-8", maxlinelen=10_000).encode()
