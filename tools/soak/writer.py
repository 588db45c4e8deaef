"""Makes the planned changes in S3, while events are delivered."""

import io
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from boto3.s3.transfer import TransferConfig

from tools.common.sizes import MIB
from tools.local.audit import crc32c
from tools.soak.changes import Change, ChangeKind
from tools.soak.cloud import SOURCE
from tools.soak.stats import RunStats

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PAUSE_S = 0.02
"""Between two changes of a thread. Chosen: three runtimes keep up with two threads."""

MULTIPART_FROM = 5 * MIB
TRANSFER = TransferConfig(
    multipart_threshold=MULTIPART_FROM, multipart_chunksize=5 * MIB, use_threads=False
)


def write_changes(
    s3: "S3Client",
    changes: Iterable[Change],
    stats: RunStats,
    *,
    should_pause: Callable[[], bool],
    stopping: threading.Event,
) -> None:
    """Make changes one after the other, no faster than their events are delivered."""
    for change in changes:
        while should_pause() and not stopping.wait(PAUSE_S):
            pass
        if stopping.is_set():
            return
        _make(s3, change, stats)
        stats.record_change(change.kind)


def _make(s3: "S3Client", change: Change, stats: RunStats) -> None:
    if change.content is None:
        s3.delete_object(Bucket=SOURCE, Key=change.key)
        return
    attributes = {"ContentType": change.content_type, "Metadata": dict(change.metadata)}
    if change.kind is ChangeKind.METADATA:
        s3.copy_object(
            Bucket=SOURCE,
            Key=change.key,
            CopySource={"Bucket": SOURCE, "Key": change.key},
            MetadataDirective="REPLACE",
            **attributes,  # type: ignore[arg-type]
        )
        return
    data = change.content.data()
    stats.expect_content(change.key, crc32c(data), len(data))
    if len(data) >= MULTIPART_FROM:
        # A checksum of the whole object: moto's copy would state a composite one as whole.
        attributes["ChecksumAlgorithm"] = "CRC64NVME"
    s3.upload_fileobj(io.BytesIO(data), SOURCE, change.key, ExtraArgs=attributes, Config=TRANSFER)
