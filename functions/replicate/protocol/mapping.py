"""Map the name and the metadata of an S3 object to GCS. Pure functions.

docs/GUARANTEES.md lists all fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from unicodedata import category

from replicate.errors import InvalidNameError
from replicate.protocol.model import Attributes, SourceObject, SourceRef

PROVENANCE = "s3-source-"
"""Prefix of the custom metadata that identifies the source version.

It is reserved: user metadata with this prefix is not replicated.
"""

TAG = "s3-tag-"
"""Prefix of the custom metadata that holds tags if REPLICATE_TAGS is `metadata`."""

MAX_NAME_BYTES = 1024
"""Object name in UTF-8. Source: "Object naming requirements" in GCS's documentation."""

MAX_METADATA_BYTES = 8 * 1024
"""Custom metadata of one object, keys and values. Source: "Quotas & limits", same documentation."""

MAX_CONTEXT_BYTES = 256
"""Key or value of an object context, in UTF-8. Source: "Object contexts", same documentation."""

MAX_LANGUAGE_CHARACTERS = 100
"""Source: `contentLanguage` in the reference of GCS's JSON API."""


class Tags(StrEnum):
    """What S3 tags become in GCS: nothing, object contexts, or custom metadata."""

    OFF = "off"
    CONTEXTS = "contexts"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Naming:
    """Maps S3 keys to names of GCS objects."""

    bucket: str
    prefix: str = ""
    staging: str = ""
    """Prefix of the names of staged objects, which no replica may have."""

    def name(self, ref: SourceRef) -> str:
        """Return the name of the replica. Raise InvalidNameError if GCS does not accept it."""
        name = self.prefix + ref.key
        if self.is_staged(ref.key):
            raise InvalidNameError(
                f"{ref.uri} is not replicated: names that begin with {self.staging} are for parts"
                " of large objects. Rename the object in S3."
            )
        if problem := _name_problem(name):
            raise InvalidNameError(
                f"GCS does not accept the name gs://{self.bucket}/{name} for {ref.uri}: {problem}."
                " Rename the object in S3."
            )
        return name

    def is_staged(self, key: str) -> bool:
        """Return whether the name for a key is one of staged objects."""
        return bool(self.staging) and (self.prefix + key).startswith(self.staging)

    def uri(self, name: str) -> str:
        """Return the address of an object as Google writes it, `gs://bucket/name`."""
        return f"gs://{self.bucket}/{name}"


def _name_problem(name: str) -> str | None:
    """Return why GCS refuses a name, or None. Source: "Object naming requirements"."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if not 1 <= size <= MAX_NAME_BYTES:
        return f"it has {size} bytes of UTF-8, and GCS allows 1 to {MAX_NAME_BYTES}"
    if "\r" in name or "\n" in name:
        return "it contains a line break"
    if name in {".", ".."}:
        return "it is '.' or '..'"
    if name.startswith(".well-known/acme-challenge/"):
        return "it starts with '.well-known/acme-challenge/'"
    return None


def provenance(source: SourceObject) -> dict[str, str]:
    """Return the custom metadata that identifies the source version of a replica."""
    facts = {
        "bucket": source.ref.bucket,
        "key": source.ref.key,
        "etag": source.etag,
        "version-id": source.version_id,
        "last-modified": source.last_modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "size": str(source.size),
    }
    return {PROVENANCE + name: value for name, value in facts.items() if value is not None}


def is_replica_of(metadata: Mapping[str, str], ref: SourceRef) -> bool:
    """Return whether this function wrote the object as the replica of this key."""
    return (
        metadata.get(PROVENANCE + "bucket") == ref.bucket
        and metadata.get(PROVENANCE + "key") == ref.key
    )


@dataclass(frozen=True, slots=True)
class Fit:
    """The attributes of a replica, and the names of fields that GCS does not accept."""

    attributes: Attributes
    dropped: tuple[str, ...]


def attributes(source: SourceObject, tags: Tags = Tags.OFF) -> Attributes:
    """Return the attributes of a replica of `source`."""
    return fit(source, tags).attributes


def fit(source: SourceObject, tags: Tags = Tags.OFF) -> Fit:
    """Map the attributes of `source` to those of a replica.

    A header, a metadata entry or a tag that GCS does not accept is dropped, so that it does not
    prevent the replication of the object.
    """
    dropped: list[str] = []
    metadata = _custom_metadata(source, tags, dropped)
    if source.metadata_missing:
        dropped.append(f"metadata that S3 did not send ({source.metadata_missing})")
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


def _custom_metadata(source: SourceObject, tags: Tags, dropped: list[str]) -> dict[str, str]:
    """Return user metadata and, if they are stored there, tags.

    Entries are dropped if they do not fit beside the provenance.
    """
    reserved = (PROVENANCE, TAG) if tags is Tags.METADATA else (PROVENANCE,)
    entries = {k: v for k, v in source.metadata.items() if not k.startswith(reserved)}
    if tags is Tags.METADATA:
        entries |= {TAG + name: value for name, value in source.tags.items()}
    room = MAX_METADATA_BYTES - sum(_size(*entry) for entry in provenance(source).items())
    kept: dict[str, str] = {}
    for name, value in entries.items():
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
    """Return the tags that can be object contexts. S3 has at most 10 tags, GCS 50 contexts."""
    kept = {n: v for n, v in tags.items() if _is_context(n) and _is_context(v)}
    kept = {n: v for n, v in kept.items() if not n.startswith("goog")}
    dropped += [f"tag {name}" for name in tags if name not in kept]
    return kept


def _is_context(text: str) -> bool:
    """Return whether a text can be a key or a value of a context. Source: "Object contexts"."""
    return (
        text[:1].isascii()
        and text[:1].isalnum()
        and len(text.encode(errors="replace")) <= MAX_CONTEXT_BYTES
        and not set(text) & set("'\"\\/")
        and _is_plain(text)
    )


def _content_type(value: str | None, dropped: list[str]) -> str | None:
    """Return the media type, unless it cannot be sent in a header of the upload request."""
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


def _stored_encoding(value: str | None) -> str | None:
    """Return Content-Encoding without `aws-chunked`, a transfer coding of uploads to S3."""
    codings = [c.strip() for c in (value or "").split(",")]
    return ",".join(c for c in codings if c and c.lower() != "aws-chunked") or None


def _is_plain(text: str) -> bool:
    """Return whether a text has no control characters except tabs, and no surrogates."""
    return not any(category(c) in {"Cc", "Cs"} and c != "\t" for c in text)
