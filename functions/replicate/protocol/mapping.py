"""How an S3 object is described in GCS. Pure functions; docs/GUARANTEES.md has the list."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from unicodedata import category

from replicate.errors import InvalidNameError
from replicate.protocol.model import Attributes, SourceObject, SourceRef

PROVENANCE = "s3-source-"
"""Prefix of the custom metadata that says which source version the bytes came from. It is ours:
user metadata under it is not carried over."""

TAG = "s3-tag-"
"""Prefix of the custom metadata that holds tags, when they are kept there."""

MAX_NAME_BYTES = 1024

MAX_METADATA_BYTES = 8 * 1024
"""Custom metadata of one object, keys and values. Source: "Cloud Storage quotas and limits"."""

MAX_CONTEXT_BYTES = 256

MAX_LANGUAGE_CHARACTERS = 100
""""contentLanguage" in the JSON API's reference."""


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
    staging: str = ""
    """Prefix of the names of staged objects, which no replica may have."""

    def name(self, ref: SourceRef) -> str:
        """Name of the replica. Raises InvalidNameError."""
        name = self.prefix + ref.key
        if self.staging and name.startswith(self.staging):
            raise InvalidNameError(
                f"{ref.uri} is not replicated: names that begin with {self.staging} are for parts"
                " of large objects. Rename the object in S3, or set another STAGING_PREFIX."
            )
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


@dataclass(frozen=True, slots=True)
class Fit:
    """What a replica says about itself, and the names of what GCS cannot hold."""

    attributes: Attributes
    dropped: tuple[str, ...]


def attributes(source: SourceObject, tags: Tags = Tags.OFF) -> Attributes:
    """Return what a replica of `source` says about itself."""
    return fit(source, tags).attributes


def fit(source: SourceObject, tags: Tags = Tags.OFF) -> Fit:
    """Describe a replica of `source` within GCS's limits.

    A header, a metadata entry or a tag that GCS would refuse is left out: it must not keep the
    object's bytes from being replicated.
    """
    dropped: list[str] = []
    metadata = _stated_metadata(source, tags, dropped)
    return Fit(
        Attributes(
            content_type=_content_type(source.content_type, dropped) or "application/octet-stream",
            cache_control=_header("cache-control", source.cache_control, dropped),
            content_disposition=_header("content-disposition", source.content_disposition, dropped),
            content_encoding=_stored_encoding(
                _header("content-encoding", source.content_encoding, dropped)
            ),
            content_language=_language(source.content_language, dropped),
            custom_time=source.last_modified,
            metadata=metadata | provenance(source),
            contexts=_contexts(source.tags, dropped) if tags is Tags.CONTEXTS else {},
        ),
        tuple(dropped),
    )


def _stated_metadata(source: SourceObject, tags: Tags, dropped: list[str]) -> dict[str, str]:
    """User metadata and, where they are kept there, tags; as many as fit beside the provenance."""
    ours = (PROVENANCE, TAG) if tags is Tags.METADATA else (PROVENANCE,)
    stated = {k: v for k, v in source.metadata.items() if not k.startswith(ours)}
    if tags is Tags.METADATA:
        stated |= {TAG + name: value for name, value in source.tags.items()}
    room = MAX_METADATA_BYTES - sum(_size(*entry) for entry in provenance(source).items())
    kept: dict[str, str] = {}
    for name, value in stated.items():
        size = _size(name, value)
        if size > room or not (_is_plain(name) and _is_plain(value)):
            dropped.append(f"metadata {name}")
        else:
            kept[name] = value
            room -= size
    return kept


def _size(name: str, value: str) -> int:
    return len(name.encode(errors="replace")) + len(value.encode(errors="replace"))


def _contexts(tags: Mapping[str, str], dropped: list[str]) -> dict[str, str]:
    """Tags that can be object contexts. Their number in S3 is far below what GCS takes."""
    kept = {n: v for n, v in tags.items() if _is_context(n) and _is_context(v)}
    kept = {n: v for n, v in kept.items() if not n.startswith("goog")}
    dropped += [f"tag {name}" for name in tags if name not in kept]
    return kept


def _is_context(text: str) -> bool:
    """Whether GCS takes a text as a context's key or value. Source: "Object contexts"."""
    return (
        text[:1].isascii()
        and text[:1].isalnum()
        and len(text.encode(errors="replace")) <= MAX_CONTEXT_BYTES
        and not set(text) & set("'\"\\/")
        and _is_plain(text)
    )


def _content_type(value: str | None, dropped: list[str]) -> str | None:
    """A media type is printable ASCII; GCS is told it in a header as well."""
    if value and not (value.isascii() and value.isprintable()):
        dropped.append("content-type")
        return None
    return value


def _language(value: str | None, dropped: list[str]) -> str | None:
    if value and len(value) > MAX_LANGUAGE_CHARACTERS:
        dropped.append("content-language")
        return None
    return _header("content-language", value, dropped)


def _header(name: str, value: str | None, dropped: list[str]) -> str | None:
    if value and not _is_plain(value):
        dropped.append(name)
        return None
    return value or None


def _is_plain(text: str) -> bool:
    """Whether a text has no control characters but tabs, and no halves of characters."""
    return not any(category(c) in {"Cc", "Cs"} and c != "\t" for c in text)


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
