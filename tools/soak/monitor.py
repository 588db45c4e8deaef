"""Checks during the run that everything visible in GCS is a content that S3 has held."""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import threading

from google.cloud import storage

from tools.soak.stats import RunStats

EVERY_S = 3.0


class ReplicaMonitor:
    """Lists the replica bucket again and again."""

    def __init__(self, bucket: storage.Bucket, stats: RunStats, stopping: threading.Event) -> None:
        self._bucket = bucket
        self._stats = stats
        self._stopping = stopping

    def run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self.check()

    def check(self) -> None:
        """Compare each visible object with all contents that its key has had."""
        seen = 0
        for blob in self._bucket.list_blobs(fields="items(name,crc32c),nextPageToken"):
            seen += 1
            if blob.crc32c not in self._stats.contents.get(blob.name, ()):
                self._stats.never_in_source.append(blob.name)
        self._stats.count("listings")
        self._stats.count("objects seen", seen)
