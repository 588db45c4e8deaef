"""How an S3 object is described in GCS. Pure functions; docs/GUARANTEES.md has the list."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum

from replicate.errors import InvalidNameError
from replicate.objects import Attributes, SourceObject, SourceRef

PROVENANCE = "s3-source-"
"""Prefix of the custom metadata that says which source version the bytes came from. It is ours:
user metadata under it is not carried over."""

TAG = "s3-tag-"
"""Prefix of the custom metadata that holds tags, when they are kept there."""

MAX_NAME_BYTES = 1024


class Tags(StrEnum):
    """What S3 tags become: object contexts, custom metadata (where those lack), or nothing."""

    OFF = "off"
    CONTEXTS = "contexts"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Naming:
    """Which GCS object an S3 key becomes."""

    bucket: str
    prefix: str = ""

    def name(self, ref: SourceRef) -> str:
        """Name of the replica. Raises InvalidNameError."""
        name = self.prefix + ref.key
        if problem := _name_problem(name):
            raise InvalidNameError(
                f"GCS cannot hold {ref.uri} as gs://{self.bucket}/{name}: {problem}."
                " Rename the object in S3."
            )
        return name

    def uri(self, name: str) -> str:
        return f"gs://{self.bucket}/{name}"


def _name_problem(name: str) -> str | None:
    """Why GCS refuses a name. Source: cloud.google.com/storage/docs/objects#naming."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if not 1 <= size <= MAX_NAME_BYTES:
        return f"it has {size} bytes of UTF-8, and 1 to {MAX_NAME_BYTES} are possible"
    if "\r" in name or "\n" in name:
        return "it contains a line break"
    if name in {".", ".."}:
        return "it is '.' or '..'"
    if name.startswith(".well-known/acme-challenge/"):
        return "it starts with '.well-known/acme-challenge/'"
    return None


def provenance(source: SourceObject) -> dict[str, str]:
    """Custom metadata that names the source version: the fingerprint a replica is recognised by."""
    facts = {
        "bucket": source.ref.bucket,
        "key": source.ref.key,
        "etag": source.etag,
        "version-id": source.version_id,
        "last-modified": source.last_modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "size": str(source.size),
    }
    return {PROVENANCE + name: value for name, value in facts.items() if value is not None}


def attributes(source: SourceObject, tags: Tags = Tags.OFF) -> Attributes:
    """What a replica of `source` says about itself."""
    ours = (PROVENANCE, TAG) if tags is Tags.METADATA else (PROVENANCE,)
    stated = {k: v for k, v in source.metadata.items() if not k.startswith(ours)}
    if tags is Tags.METADATA:
        stated |= {TAG + name: value for name, value in source.tags.items()}
    return Attributes(
        content_type=source.content_type or "application/octet-stream",
        cache_control=source.cache_control or None,
        content_disposition=source.content_disposition or None,
        content_encoding=_stored_encoding(source.content_encoding),
        content_language=source.content_language or None,
        custom_time=source.last_modified,
        metadata=stated | provenance(source),
        contexts=dict(source.tags) if tags is Tags.CONTEXTS else {},
    )


def is_replica_of(metadata: Mapping[str, str], ref: SourceRef) -> bool:
    """Whether this function wrote the object, from this very key."""
    return (
        metadata.get(PROVENANCE + "bucket") == ref.bucket
        and metadata.get(PROVENANCE + "key") == ref.key
    )


def _stored_encoding(value: str | None) -> str | None:
    """Content-Encoding without `aws-chunked`, which is how bytes travel, not what they are."""
    codings = [c.strip() for c in (value or "").split(",")]
    return ",".join(c for c in codings if c and c.lower() != "aws-chunked") or None
