"""S3 and GCS in memory. They guarantee what S3 and GCS guarantee, and nothing more.

`FakeS3` is a `Source`, `FakeGcs` a `Destination` (replicate/protocol/ports.py). The other methods,
such as `put`, are what other programs do to the stores.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import ClassVar, TypeVar

from awscrt import checksums

from replicate.errors import (
    ComponentGoneError,
    DestinationChangedError,
    DestinationRejectedError,
    IntegrityError,
    SourceChangedError,
)
from replicate.protocol.assembly import Assembler
from replicate.protocol.checksums import Crc, crc32c, encode_crc32c
from replicate.protocol.model import (
    Attributes,
    Checksum,
    EtagKind,
    PartLayout,
    Precondition,
    Replica,
    SourceObject,
    SourceRef,
    Span,
)
from replicate.protocol.parts import MAX_COMPONENTS, Sizes
from replicate.protocol.ports import Body, Destination, GatedBody, Source, Stop

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
A_SECOND = timedelta(seconds=1)

PLAIN = Attributes(
    content_type="text/plain",
    cache_control=None,
    content_disposition=None,
    content_encoding=None,
    content_language=None,
    custom_time=None,
    metadata={},
)
"""Attributes of an object that another program wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An object as its owner uploads it to S3."""

    data: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = "STANDARD"
    part_sizes: tuple[int, ...] = ()
    """Sizes of the parts of a multipart upload. They add up to the size of `data`."""
    checksum: str | None = None
    """The checksum algorithm. None means that S3 stores no checksum, as before December 2024."""
    full_object: bool = False
    """Whether the checksum of a multipart upload covers the full object."""
    kms: bool = False
    """Whether the object is encrypted with SSE-KMS. Its ETag is not an MD5 then."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """One opened version: its description and its bytes."""

    object: SourceObject
    data: bytes
    part_sizes: tuple[int, ...] = ()


class FakeS3:
    """An S3 bucket, versioned or not. Each change advances its clock by `tick`.

    Its descriptions include tags when `reads_tags` is set.
    """

    def __init__(self, *, versioned: bool = False, tick: timedelta = A_SECOND) -> None:
        self.versioned = versioned
        self.reads_tags = False
        self._tick = tick
        self.now = START
        self._changes = 0
        self._versions: dict[SourceRef, list[Pinned | None]] = {}  # None: a delete marker

    def head(self, ref: SourceRef) -> SourceObject | None:
        pinned = self._current(ref)
        return pinned.object if pinned else None

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        pinned = self.pin(ref, version)
        yield FakeBody(self, pinned, span) if pinned else None

    def part_layout(self, version: SourceObject) -> PartLayout | None:
        sizes = self._described(version).part_sizes
        return PartLayout(count=len(sizes), size=sizes[0]) if sizes else None

    def has_layout(self, version: SourceObject, layout: PartLayout) -> bool:
        sizes = self.pinned(version).part_sizes
        return len(sizes) == layout.count and set(sizes[:-1]) <= {layout.size}

    def pinned(self, version: SourceObject) -> Pinned:
        """Return exactly this version. Raises SourceChangedError."""
        pinned = self.pin(version.ref, version)
        assert pinned is not None
        return pinned

    def _described(self, version: SourceObject) -> Pinned:
        """Return what HEAD with a part number describes, which may be another version."""
        if version.version_id:
            return self.pinned(version)
        return self._current(version.ref) or Pinned(version, b"")

    def pin(self, ref: SourceRef, version: SourceObject | None = None) -> Pinned | None:
        """Return the response to a GET, with If-Match when `version` is given.

        Raises SourceChangedError. If-Match compares only the ETag, so it also matches the same
        bytes with other metadata. A version id finds its version until that is deleted, current or
        not.
        """
        if version is None:
            return self._current(ref)
        candidates = self._versions.get(ref, []) if version.version_id else [self._current(ref)]
        for candidate in candidates:
            if candidate and _matches(candidate.object, version):
                return replace(candidate, object=version)
        raise SourceChangedError

    def put(
        self,
        ref: SourceRef,
        data: bytes,
        metadata: Mapping[str, str] | None = None,
        *,
        multipart: bool = False,
    ) -> SourceObject:
        """Create or overwrite an object. The same bytes keep the ETag."""
        return self.upload(
            ref,
            Upload(
                data=data,
                metadata=metadata or {},
                content_type="text/plain",
                part_sizes=(len(data),) if multipart else (),
            ),
        )

    def upload(self, ref: SourceRef, upload: Upload) -> SourceObject:
        """Create or overwrite an object with all its fields."""
        self._pass_time()
        version = SourceObject(
            ref=ref,
            etag=_etag(upload),
            etag_kind=_etag_kind(upload),
            size=len(upload.data),
            last_modified=self.now,
            version_id=f"version-{self._changes}" if self.versioned else None,
            content_type=upload.content_type or "binary/octet-stream",
            cache_control=upload.cache_control,
            content_disposition=upload.content_disposition,
            content_encoding=upload.content_encoding,
            content_language=upload.content_language,
            metadata={name.lower(): value for name, value in upload.metadata.items()},
            tags=dict(upload.tags),
            storage_class=upload.storage_class,
            checksums=(_checksum(upload, upload.checksum),) if upload.checksum else (),
        )
        self._append(ref, Pinned(version, upload.data, upload.part_sizes))
        return version

    def set_tags(self, ref: SourceRef, tags: Mapping[str, str]) -> None:
        """Replace the tags of the current version. Nothing else about it changes."""
        pinned = self._versions[ref][-1]
        assert pinned is not None, f"{ref.uri} does not exist"
        self._versions[ref][-1] = replace(pinned, object=replace(pinned.object, tags=dict(tags)))

    def delete(self, ref: SourceRef) -> None:
        """Delete without a version id. A versioned bucket adds a delete marker."""
        self._pass_time()
        self._append(ref, None)

    def drop_newest(self, ref: SourceRef) -> None:
        """Delete the newest version or delete marker, so that the one before it is current."""
        assert self.versioned
        self._pass_time()
        if versions := self._versions.get(ref):
            versions.pop()

    def refs(self) -> list[SourceRef]:
        """Return all current objects."""
        return [ref for ref in self._versions if self._current(ref)]

    def keys(self, bucket: str) -> list[str]:
        """Return the keys of all current objects of a bucket, in order."""
        return sorted(ref.key for ref in self.refs() if ref.bucket == bucket)

    def data(self, ref: SourceRef) -> bytes:
        pinned = self._current(ref)
        assert pinned is not None, f"{ref.uri} does not exist"
        return pinned.data

    def _current(self, ref: SourceRef) -> Pinned | None:
        versions = self._versions.get(ref)
        pinned = versions[-1] if versions else None
        if pinned and pinned.object.tags and not self.reads_tags:
            return replace(pinned, object=replace(pinned.object, tags={}))
        return pinned

    def _append(self, ref: SourceRef, version: Pinned | None) -> None:
        kept = self._versions.setdefault(ref, [])
        if not self.versioned:
            kept.clear()
        kept.append(version)

    def _pass_time(self) -> None:
        self._changes += 1
        self.now += self._tick


def _matches(version: SourceObject, wanted: SourceObject) -> bool:
    """Return whether a GET with If-Match, and the version id if there is one, finds this."""
    return version.etag == wanted.etag and wanted.version_id in {None, version.version_id}


_ALGORITHMS: Mapping[str, Callable[[bytes], bytes]] = {
    "CRC32": lambda data: checksums.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: checksums.crc32c(data).to_bytes(4, "big"),
    "CRC64NVME": lambda data: checksums.crc64nvme(data).to_bytes(8, "big"),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "SHA1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}


def _etag_kind(upload: Upload) -> EtagKind:
    if upload.kms:
        return EtagKind.OPAQUE
    return EtagKind.MD5_OF_PARTS if upload.part_sizes else EtagKind.MD5


def _etag(upload: Upload) -> str:
    """Return the MD5; of a multipart upload the MD5 of the parts' MD5s, and their number."""
    if not upload.part_sizes:
        return _ALGORITHMS["MD5"](upload.data).hex()
    return f"{_composite_digest(upload, 'MD5').hex()}-{len(upload.part_sizes)}"


def _checksum(upload: Upload, algorithm: str) -> Checksum:
    if upload.part_sizes and not upload.full_object:
        digest = base64.b64encode(_composite_digest(upload, algorithm)).decode()
        return Checksum(algorithm, f"{digest}-{len(upload.part_sizes)}", composite=True)
    return Checksum(algorithm, base64.b64encode(_ALGORITHMS[algorithm](upload.data)).decode())


def _composite_digest(upload: Upload, algorithm: str) -> bytes:
    """Return the checksum of the parts' checksums."""
    digests = b""
    offset = 0
    for size in upload.part_sizes:
        digests += _ALGORITHMS[algorithm](upload.data[offset : offset + size])
        offset += size
    return _ALGORITHMS[algorithm](digests)


class CountingS3(FakeS3):
    """An S3 bucket that counts the GETs."""

    gets = 0

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        self.gets += 1
        with super().open(ref, version, span) as body:
            yield body


class FakeBody:
    """The bytes of one version. An open stream returns them even when the object changes."""

    def __init__(self, s3: FakeS3, pinned: Pinned, span: Span | None = None) -> None:
        self._s3 = s3
        self._pinned = pinned
        self._data = pinned.data[span.start : span.end] if span else pinned.data
        self._position = 0
        self._is_open = True

    @property
    def object(self) -> SourceObject:
        return self._pinned.object

    def readinto(self, buffer: memoryview) -> int:
        """Read on. After a rewind this opens the same version again (SourceChangedError)."""
        data = self._data[self._position :][: len(buffer)]
        if data and not self._is_open:
            self._require_version()
            self._is_open = True
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def rewind(self, offset: int) -> None:
        """Close the stream, unless its position is `offset`."""
        if offset != self._position:
            self._is_open = False
            self._position = offset

    def _require_version(self) -> None:
        """Raise SourceChangedError when the version is gone."""
        self._s3.pin(self.object.ref, self.object)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A live object in GCS."""

    replica: Replica
    data: bytes
    storage_class: str | None = None


class Deletion(Enum):
    """When the components of a compose are deleted. GCS documents none but the first."""

    WITH_COMPOSE = "by the compose that succeeds"
    EVEN_IF_REFUSED = "also by a compose whose precondition failed"
    LATER = "some time after the compose"
    NEVER = "never"


class FakeGcs:
    """A GCS bucket without versioning. Each change is atomic. No generation is used twice."""

    deletion: ClassVar[Deletion] = Deletion.WITH_COMPOSE
    joins_its_class_only: ClassVar[bool] = False
    """Compose is refused unless all components have the class of the new object."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.next_generation = 1
        self.doomed: list[Replica] = []
        """Sources of composes that are still to be deleted."""
        self.obstacle: str | None = None

    def head(self, name: str) -> Replica | None:
        stored = self.objects.get(name)
        return stored.replica if stored else None

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        return self.commit(name, attributes, read_checked(body), precondition, storage_class)

    def write_compressed(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> tuple[Replica, int]:
        replica = self.commit(name, attributes, read_checked(body), precondition, storage_class)
        if replica.crc32c != encode_crc32c(body.crc32c):
            self.delete(name, Precondition(replica.generation))
            raise IntegrityError("GCS made other bytes.")
        return replica, compressed_size(memoryview(self.objects[name].data))

    def commit(
        self,
        name: str,
        attributes: Attributes,
        data: bytes,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """Make bytes and attributes visible, in one atomic step."""
        self.require(name, precondition)
        return self.put(name, data, attributes, storage_class)

    def compose(
        self,
        name: str,
        attributes: Attributes,
        components: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """Join components that are all as they were pinned, and delete them as `deletion` says."""
        if not 1 <= len(components) <= MAX_COMPONENTS:
            raise DestinationRejectedError(f"Compose joins 1 to {MAX_COMPONENTS} objects.")
        stored = [self._pinned(each) for each in components]
        classes = {each.storage_class for each in stored}
        if len(classes) > 1 or (self.joins_its_class_only and classes != {storage_class}):
            raise DestinationRejectedError("The components have other storage classes.")
        try:
            self.require(name, precondition)
        except DestinationChangedError:
            if self.deletion is Deletion.EVEN_IF_REFUSED:
                self._delete_pinned(components)
            raise
        data = b"".join(each.data for each in stored)
        composed = replace(self.put(name, data, attributes, *classes), md5=None)
        self.objects[name] = replace(self.objects[name], replica=composed)
        if self.deletion is Deletion.LATER:
            self.doomed.extend(components)
        elif self.deletion is not Deletion.NEVER:
            self._delete_pinned(components)
        return composed

    def delete_doomed(self) -> None:
        """Delete the components of earlier composes, if they are still those that were joined."""
        self._delete_pinned(self.doomed)
        self.doomed = []

    def _pinned(self, source: Replica) -> StoredObject:
        stored = self.objects.get(source.name)
        if stored is None or stored.replica.generation != source.generation:
            raise ComponentGoneError
        return stored

    def _delete_pinned(self, components: Sequence[Replica]) -> None:
        for source in components:
            stored = self.objects.get(source.name)
            if stored and stored.replica.generation == source.generation:
                del self.objects[source.name]

    def staging_obstacle(self) -> str | None:
        return self.obstacle

    def list_prefix(self, prefix: str) -> list[Replica]:
        return [
            stored.replica
            for name, stored in sorted(self.objects.items())
            if name.startswith(prefix)
        ]

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        self.require(name, Precondition.unchanged(current))
        stored = self.objects.get(name)
        if stored is None:
            raise DestinationChangedError
        _require_custom_time_not_earlier(stored.replica.attributes, attributes)
        patched = replace(
            stored.replica,
            attributes=attributes,
            metageneration=stored.replica.metageneration + 1,
        )
        self.objects[name] = replace(stored, replica=patched)
        return patched

    def delete(self, name: str, precondition: Precondition) -> None:
        if name in self.objects:
            self.require(name, precondition)
            del self.objects[name]

    def require(self, name: str, precondition: Precondition) -> None:
        """Raise DestinationChangedError when the precondition does not hold."""
        live = self.head(name)
        if (live.generation if live else 0) != precondition.generation:
            raise DestinationChangedError
        if precondition.metageneration not in {None, live.metageneration if live else 0}:
            raise DestinationChangedError

    def put(
        self,
        name: str,
        data: bytes,
        attributes: Attributes = PLAIN,
        storage_class: str | None = None,
    ) -> Replica:
        """Write without a precondition."""
        replica = Replica(
            name=name,
            generation=self.next_generation,
            metageneration=1,
            size=len(data),
            attributes=attributes,
            crc32c=encode_crc32c(_crc32c(data).value),
            md5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
        )
        self.next_generation += 1
        self.objects[name] = StoredObject(replica, data, storage_class)
        return replica


def compressed_size(data: memoryview) -> int:
    """Return how many bytes these bytes take as gzip."""
    return len(zlib.compress(data, 1))


def read_checked(body: GatedBody, piece_bytes: int = 1024 * 1024) -> bytes:
    """Return all bytes of a body after verification. Raises IntegrityError."""
    data = bytearray(body.size)
    for offset in range(0, len(data), piece_bytes):
        body.readinto(memoryview(data)[offset : offset + piece_bytes])
    body.verify()
    return bytes(data)


def _crc32c(data: bytes) -> Crc:
    crc = crc32c()
    crc.update(memoryview(data))
    return crc


def _require_custom_time_not_earlier(before: Attributes, after: Attributes) -> None:
    """Refuse to clear a custom time or set it back. Source: GCS's "Object metadata"."""
    if before.custom_time and (not after.custom_time or after.custom_time < before.custom_time):
        raise DestinationRejectedError("Custom time cannot be cleared or set back.")


def in_order(tasks: Sequence[Callable[[Stop], T]]) -> list[T]:
    """Run tasks one after the other: a `Parallel` without threads."""
    stop = Stop()
    return [task(stop) for task in tasks]


def assembler(source: Source, destination: Destination) -> Assembler:
    """Return one that no object of a test is large enough for."""
    return Assembler(
        source=source,
        destination=destination,
        prefix=".staging/",
        sizes=Sizes(),
        in_parallel=in_order,
    )
