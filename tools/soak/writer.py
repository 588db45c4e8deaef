"""Makes the planned changes in S3, while events are delivered."""

import base64
import io
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import google_crc32c
from boto3.s3.transfer import TransferConfig

from tools.soak.changes import MIB, Change, ChangeKind
from tools.soak.cloud import SOURCE
from tools.soak.stats import RunStats

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PAUSE_S = 0.02
MULTIPART_FROM = 10 * MIB
TRANSFER = TransferConfig(
    multipart_threshold=MULTIPART_FROM, multipart_chunksize=5 * MIB, use_threads=False
)


class SourceWriter:
    """Makes the changes of one lane, one after the other."""

    def __init__(
        self,
        s3: "S3Client",
        changes: Iterable[Change],
        stats: RunStats,
        *,
        should_pause: Callable[[], bool],
        stopping: threading.Event,
    ) -> None:
        self._s3 = s3
        self._changes = changes
        self._stats = stats
        self._should_pause = should_pause
        self._stopping = stopping

    def run(self) -> None:
        """Make the changes, no faster than their events are delivered."""
        for change in self._changes:
            while self._should_pause() and not self._stopping.is_set():
                self._stopping.wait(PAUSE_S)
            if self._stopping.is_set():
                return
            self._make(change)
            self._stats.record_change(change.kind)

    def _make(self, change: Change) -> None:
        if change.content is None:
            self._s3.delete_object(Bucket=SOURCE, Key=change.key)
        elif change.kind is ChangeKind.METADATA:
            self._s3.copy_object(
                Bucket=SOURCE,
                Key=change.key,
                CopySource={"Bucket": SOURCE, "Key": change.key},
                MetadataDirective="REPLACE",
                ContentType=change.content_type,
                Metadata=dict(change.metadata),
            )
        else:
            data = change.content.data()
            self._stats.expect_content(change.key, crc32c(data), len(data))
            self._put(change, data)

    def _put(self, change: Change, data: bytes) -> None:
        attributes = {"ContentType": change.content_type, "Metadata": dict(change.metadata)}
        if len(data) >= MULTIPART_FROM:
            # A checksum of the whole object: moto's copy would state a composite one as whole.
            attributes["ChecksumAlgorithm"] = "CRC64NVME"
        self._s3.upload_fileobj(
            io.BytesIO(data), SOURCE, change.key, ExtraArgs=attributes, Config=TRANSFER
        )


def crc32c(data: bytes) -> str:
    """Return the checksum in base64, as GCS states it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
