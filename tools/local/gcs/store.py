"""Buckets and their objects. One lock makes a check and its change a single step."""

import base64
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from tools.local.gcs import metadata
from tools.local.gcs.errors import ApiError, not_found
from tools.local.gcs.preconditions import Preconditions
from tools.local.gcs.spool import Content, Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One generation of an object, at one metageneration."""

    bucket: str
    name: str
    generation: int
    metageneration: int
    fields: metadata.Fields
    content: Content
    created: datetime
    updated: datetime

    @property
    def etag(self) -> str:
        """Opaque: changes with the generation and the metageneration."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    def resource(self, server_url: str) -> dict[str, Any]:
        """Return the object resource, with links for the host that was asked."""
        path = f"b/{self.bucket}/o/{quote(self.name, safe='')}"
        created = metadata.rfc3339(self.created)
        optional = {"md5Hash": self.content.md5, "componentCount": self.content.components}
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{server_url}/storage/v1/{path}",
            "mediaLink": f"{server_url}/download/storage/v1/{path}"
            f"?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "size": str(self.content.size),
            "crc32c": self.content.crc32c,
            "etag": self.etag,
            "timeCreated": created,
            "updated": metadata.rfc3339(self.updated),
            "timeStorageClassUpdated": created,
            "timeFinalized": created,
            **{key: value for key, value in optional.items() if value is not None},
            **self.fields,
        }


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket without versioning: an overwritten or deleted generation is gone."""

    name: str
    created: datetime = field(default_factory=metadata.now)
    objects: dict[str, StoredObject] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    """More fields of the resource, such as a retention policy. They have no other effect."""

    def resource(self, server_url: str) -> dict[str, Any]:
        """Return the bucket resource."""
        created = metadata.rfc3339(self.created)
        return {
            "kind": "storage#bucket",
            "id": self.name,
            "selfLink": f"{server_url}/storage/v1/b/{self.name}",
            "name": self.name,
            "projectNumber": "1",
            "metageneration": "1",
            "location": "US",
            "locationType": "multi-region",
            "storageClass": "STANDARD",
            "etag": "CAE=",
            "timeCreated": created,
            "updated": created,
            **self.settings,
        }


class Store:
    """Every bucket, and the directory that holds the objects' bytes."""

    def __init__(self, directory: Path, *, seconds_between_writes: float = 0.0) -> None:
        self._directory = directory
        self._seconds_between_writes = seconds_between_writes
        self._last_writes: dict[tuple[str, str], float] = {}  # on the monotonic clock
        self._lock = threading.RLock()
        self._buckets: dict[str, Bucket] = {}
        self._last_generation = 0
        self.soft_deleted: list[StoredObject] = []
        """Deleted and overwritten generations, which a bucket with soft delete would hold."""

    def spool(self, *, md5: bool = True) -> Spool:
        """Return an empty file for content to come."""
        return Spool(self._directory, md5=md5)

    def create_bucket(self, name: str) -> None:
        """Add a bucket, unless it exists."""
        with self._lock:
            self._buckets.setdefault(name, Bucket(name))

    def bucket(self, name: str) -> Bucket:
        """Return a bucket that exists."""
        with self._lock:
            if name not in self._buckets:
                raise not_found("The specified bucket does not exist.")
            return self._buckets[name]

    def objects(self, bucket: str) -> list[StoredObject]:
        """Return a bucket's objects in the order of their names' UTF-8 bytes."""
        with self._lock:
            # Code point order is UTF-8 byte order.
            return [stored for _, stored in sorted(self.bucket(bucket).objects.items())]

    def get(self, bucket: str, name: str, preconditions: Preconditions) -> StoredObject:
        """Return the live object, if it is the generation asked for."""
        with self._lock:
            live = self.bucket(bucket).objects.get(name)
            if live is None or preconditions.generation not in {None, live.generation}:
                raise not_found(f"No such object: {bucket}/{name}")
            preconditions.check(live)
            return live

    def open(
        self, bucket: str, name: str, preconditions: Preconditions
    ) -> tuple[StoredObject, BinaryIO]:
        """Return the live object and its bytes, which stay readable if the object changes."""
        with self._lock:
            live = self.get(bucket, name, preconditions)
            return live, live.content.path.open("rb")

    def commit(
        self,
        bucket: str,
        name: str,
        content: Content,
        fields: metadata.Fields,
        preconditions: Preconditions,
        *,
        consumed: Sequence[StoredObject] = (),
    ) -> StoredObject:
        """Make `content` the live object: a new generation, unless a precondition fails.

        Delete the objects in `consumed` in the same step; refuse it with 404 if one is gone.
        """
        with self._lock:
            home = self.bucket(bucket)
            for source in consumed:
                self.get(bucket, source.name, Preconditions(generation=source.generation))
            before = home.objects.get(name)
            preconditions.check(before)
            self._count_write(bucket, name)
            moment = metadata.now()
            # The time in microseconds, or the next number where the clock has not moved.
            self._last_generation = max(self._last_generation + 1, time.time_ns() // 1000)
            home.objects[name] = StoredObject(
                bucket=bucket,
                name=name,
                generation=self._last_generation,
                metageneration=1,
                fields={"storageClass": "STANDARD", **fields},
                content=content,
                created=moment,
                updated=moment,
            )
            stored = home.objects[name]
            if before:
                self._remove(before, is_soft=before.generation not in _generations(consumed))
            self.consume(consumed)
            return stored

    def change(
        self,
        bucket: str,
        name: str,
        preconditions: Preconditions,
        edit: Callable[[metadata.Fields], metadata.Fields],
    ) -> StoredObject:
        """Edit the live object's fields: same generation, next metageneration."""
        with self._lock:
            before = self.get(bucket, name, preconditions)
            fields, next_one = edit(before.fields), before.metageneration + 1
            self._count_write(bucket, name)
            after = replace(before, fields=fields, metageneration=next_one, updated=metadata.now())
            self.bucket(bucket).objects[name] = after
            return after

    def delete(self, bucket: str, name: str, preconditions: Preconditions) -> None:
        """Remove the live object and its bytes."""
        with self._lock:
            live = self.get(bucket, name, preconditions)
            self._count_write(bucket, name)
            del self.bucket(bucket).objects[name]
            self._remove(live)

    def consume(self, objects: Iterable[StoredObject]) -> None:
        """Delete these generations if they are live, past soft delete."""
        with self._lock:
            for stored in objects:
                home = self.bucket(stored.bucket).objects
                if stored.name in home and home[stored.name].generation == stored.generation:
                    self._remove(home.pop(stored.name), is_soft=False)

    def consume_later(self, objects: Sequence[StoredObject], delay_s: float) -> None:
        """Delete these generations after a delay, unless the server stops before."""
        timer = threading.Timer(delay_s, self.consume, [objects])
        timer.daemon = True
        timer.start()

    def share(self, source: StoredObject, spool: Spool) -> Content:
        """Return the source's bytes under the spool's file name, without copying them."""
        with self._lock:
            same = Preconditions(generation=source.generation)
            live = self.get(source.bucket, source.name, same)
            spool.discard()
            os.link(live.content.path, spool.path)
            return replace(live.content, path=spool.path)

    def _remove(self, stored: StoredObject, *, is_soft: bool = True) -> None:
        """Remove the bytes. GCS would keep, and charge for, what is deleted softly."""
        stored.content.path.unlink(missing_ok=True)  # the server may have stopped
        if is_soft:
            self.soft_deleted.append(stored)

    def _count_write(self, bucket: str, name: str) -> None:
        """Refuse a write that follows the last one of this name too soon.

        A write that a precondition refuses does not count.
        """
        now = time.monotonic()
        last = self._last_writes.get((bucket, name))
        if last is not None and now - last < self._seconds_between_writes:
            raise ApiError(
                429,
                "rateLimitExceeded",
                f"The object {bucket}/{name} exceeded the rate limit for object mutation operations"
                " (create, update, and delete). Please reduce your request rate.",
            )
        self._last_writes[bucket, name] = now


def _generations(objects: Iterable[StoredObject]) -> set[int]:
    return {stored.generation for stored in objects}
