"""Looks at GCS while everything is going on: what is visible must be a version S3 has had."""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import threading

from google.cloud import storage

from tools.soak.ledger import Ledger

EVERY_S = 3.0


class Watch:
    """Lists the replica again and again."""

    def __init__(self, bucket: storage.Bucket, ledger: Ledger, stopping: threading.Event) -> None:
        self._bucket = bucket
        self._ledger = ledger
        self._stopping = stopping

    def run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Compare each visible object with all that its key has held."""
        seen = 0
        for blob in self._bucket.list_blobs(fields="items(name,crc32c),nextPageToken"):
            seen += 1
            if blob.crc32c not in self._ledger.contents.get(blob.name, ()):
                self._ledger.wrong.append(blob.name)
        self._ledger.count("looks")
        self._ledger.count("seen", seen)
