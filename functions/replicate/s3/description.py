"""Convert the output of HeadObject and GetObject to a `SourceObject`.

Source: "GetObject" in S3's API reference.
"""

import base64
import contextlib
import email.errors
import email.header
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from replicate.protocol.model import ARCHIVE_CLASSES, Checksum, EtagKind, SourceObject, SourceRef

T = TypeVar("T")

Output = Mapping[str, Any]
"""The output of one boto3 call."""

_CHECKSUM = "Checksum"
_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-\d+")
_RESTORED = 'ongoing-request="false"'


def describe(ref: SourceRef, output: Output) -> SourceObject:
    """Convert the output of HeadObject, or of GetObject without a range. It has no tags.

    boto3 accepts a response head that was cut short, so any field may be missing. Raise
    LookupError, ValueError or TypeError when the output is malformed.
    """
    etag = _required(output, "ETag", str).strip('"')
    version_id = output.get("VersionId")
    return SourceObject(
        ref=ref,
        etag=etag,
        size=_required(output, "ContentLength", int),
        last_modified=_required(output, "LastModified", datetime),
        version_id=None if version_id == "null" else version_id,
        content_type=_text(output.get("ContentType")),
        cache_control=_text(output.get("CacheControl")),
        content_disposition=_text(output.get("ContentDisposition")),
        content_encoding=_text(output.get("ContentEncoding")),
        content_language=_text(output.get("ContentLanguage")),
        metadata={
            name.lower(): _text(value) or "" for name, value in output.get("Metadata", {}).items()
        },
        metadata_missing=output.get("MissingMeta") or 0,
        storage_class=output.get("StorageClass") or "STANDARD",
        checksums=tuple(_checksums(output, etag)),
        etag_kind=_etag_kind(etag, output),
        is_archived=_is_archived(output),
        request_id=request_id(output),
    )


def request_id(output: Output) -> str | None:
    """Return the ID that S3 gave to the request. AWS support asks for it."""
    found: str | None = output["ResponseMetadata"]["HTTPHeaders"].get("x-amz-request-id")
    return found


def _required(output: Output, name: str, kind: type[T]) -> T:
    """Return a field that every response has. Raise LookupError if it is missing or empty."""
    value = output.get(name)
    if not isinstance(value, kind) or value == "":
        raise LookupError(f"no {name}")
    return value


def _checksums(output: Output, etag: str) -> Iterator[Checksum]:
    """Yield the checksums in the output. Raise ValueError if one is not valid base64."""
    kind = output.get("ChecksumType")
    composite = kind == "COMPOSITE" or (kind is None and "-" in etag)
    for name, value in output.items():
        if name.startswith(_CHECKSUM) and name != "ChecksumType":
            base64.b64decode(value.partition("-")[0], validate=True)
            algorithm = name.removeprefix(_CHECKSUM)
            yield Checksum(algorithm, value, composite or "-" in value)


def _is_archived(output: Output) -> bool:
    """Return whether the object is in an archive and not restored.

    Intelligent-Tiering states its archive in `ArchiveStatus`, and no class.
    """
    in_archive = output.get("StorageClass") in ARCHIVE_CLASSES or bool(output.get("ArchiveStatus"))
    return in_archive and _RESTORED not in output.get("Restore", "")


def _etag_kind(etag: str, output: Output) -> EtagKind:
    """Return whether an ETag is an MD5 digest. With SSE-KMS and SSE-C it is not.

    Source: "Checking object integrity" in S3's user guide.
    """
    if output.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in output:
        return EtagKind.OPAQUE
    if _MD5.fullmatch(etag):
        return EtagKind.MD5
    return EtagKind.MD5_OF_PARTS if _MD5_OF_PARTS.fullmatch(etag) else EtagKind.OPAQUE


def _text(value: str | None) -> str | None:
    """Decode a header value. S3 sends non-ASCII text as RFC 2047 words, and some of it as UTF-8.

    `http.client` decodes headers as Latin-1.
    """
    if value is None:
        return None
    if "=?" in value and "?=" in value:
        with contextlib.suppress(email.errors.HeaderParseError, LookupError, ValueError):
            return str(email.header.make_header(email.header.decode_header(value)))
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
