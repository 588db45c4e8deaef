"""Carries the plan out on S3, while events are being delivered."""

import base64
import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import google_crc32c
from boto3.s3.transfer import TransferConfig

from tools.soak.changes import MIB, Change, Kind
from tools.soak.cloud import SOURCE
from tools.soak.ledger import Ledger

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PAUSE_S = 0.02
PART_BYTES = 5 * MIB
MULTIPART_FROM = 10 * MIB


class Writer:
    """One lane of the plan: its changes, one after the other."""

    def __init__(
        self,
        s3: "S3Client",
        changes: list[Change],
        ledger: Ledger,
        *,
        crowded: Callable[[], bool],
        stopping: threading.Event,
    ) -> None:
        self._s3 = s3
        self._changes = changes
        self._ledger = ledger
        self._crowded = crowded
        self._stopping = stopping

    def run(self) -> None:
        """Make the changes, no faster than events are carried away."""
        for change in self._changes:
            while self._crowded() and not self._stopping.is_set():
                self._stopping.wait(PAUSE_S)
            if self._stopping.is_set():
                return
            self._make(change)
            self._ledger.changed(change.kind)

    def _make(self, change: Change) -> None:
        if change.content is None:
            self._s3.delete_object(Bucket=SOURCE, Key=change.key)
        elif change.kind is Kind.METADATA:
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
            self._ledger.about_to_hold(change.key, crc32c(data), len(data))
            self._put(change, data)

    def _put(self, change: Change, data: bytes) -> None:
        if len(data) < MULTIPART_FROM:
            self._s3.put_object(
                Bucket=SOURCE,
                Key=change.key,
                Body=data,
                ContentType=change.content_type,
                Metadata=dict(change.metadata),
            )
            return
        self._s3.upload_fileobj(
            io.BytesIO(data),
            SOURCE,
            change.key,
            ExtraArgs={
                "ContentType": change.content_type,
                "Metadata": dict(change.metadata),
                # Of the whole object. moto's copy would pass a checksum of checksums off as one.
                "ChecksumAlgorithm": "CRC64NVME",
            },
            Config=TransferConfig(
                multipart_threshold=MULTIPART_FROM,
                multipart_chunksize=PART_BYTES,
                use_threads=False,
            ),
        )


def crc32c(data: bytes) -> str:
    """As GCS spells it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
