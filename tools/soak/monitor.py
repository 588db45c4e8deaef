"""Checks during the run that everything visible in GCS is a content that S3 has held."""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import threading

from google.cloud import storage

from tools.soak.cloud import STAGING
from tools.soak.stats import RunStats

EVERY_S = 3.0
"""Chosen: a listing of the whole bucket takes about 0.1 s of a core."""


def monitor_replica(bucket: storage.Bucket, stats: RunStats, stopping: threading.Event) -> None:
    """Check the bucket again and again."""
    while not stopping.wait(EVERY_S):
        check_replica(bucket, stats)


def check_replica(bucket: storage.Bucket, stats: RunStats) -> None:
    """Compare each visible object with all contents that its key has had."""
    seen = 0
    for blob in bucket.list_blobs(fields="items(name,crc32c),nextPageToken"):
        if blob.name.startswith(STAGING):
            continue
        seen += 1
        if blob.crc32c not in stats.contents.get(blob.name, ()):
            stats.never_in_source.append(blob.name)
    stats.count("listings")
    stats.count("objects seen", seen)
