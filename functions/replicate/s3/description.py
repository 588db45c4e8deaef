"""What HeadObject and GetObject say about an object. Source: S3's API reference, "GetObject"."""

import base64
import contextlib
import email.errors
import email.header
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from replicate.protocol.model import Checksum, SourceObject, SourceRef

T = TypeVar("T")

Output = Mapping[str, Any]
"""The output of one boto3 call."""

_CHECKSUM = "Checksum"
_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-\d+")


def describe(ref: SourceRef, output: Output) -> SourceObject:
    """Describe one version, without tags, by the output of HeadObject or of a whole GetObject.

    A response head that is cut short passes for a whole one: fields may be missing. Raises
    LookupError, ValueError or TypeError when the output makes no sense.
    """
    etag = _stated(output, "ETag", str).strip('"')
    version_id = output.get("VersionId")
    return SourceObject(
        ref=ref,
        etag=etag,
        size=_stated(output, "ContentLength", int),
        last_modified=_stated(output, "LastModified", datetime),
        version_id=None if version_id == "null" else version_id,
        content_type=_text(output.get("ContentType")),
        cache_control=_text(output.get("CacheControl")),
        content_disposition=_text(output.get("ContentDisposition")),
        content_encoding=_text(output.get("ContentEncoding")),
        content_language=_text(output.get("ContentLanguage")),
        metadata={
            name.lower(): _text(value) or "" for name, value in output.get("Metadata", {}).items()
        },
        storage_class=output.get("StorageClass") or "STANDARD",
        checksums=tuple(_checksums(output, etag)),
        etag_is_md5=bool(_MD5.fullmatch(etag)) and _etags_are_md5(output),
        etag_is_md5_of_parts=bool(_MD5_OF_PARTS.fullmatch(etag)) and _etags_are_md5(output),
        request_id=request_id(output),
    )


def request_id(output: Output) -> str | None:
    """S3's id of the request, for its support."""
    found: str | None = output["ResponseMetadata"]["HTTPHeaders"].get("x-amz-request-id")
    return found


def _stated(output: Output, name: str, kind: type[T]) -> T:
    value = output.get(name)
    if not isinstance(value, kind) or value == "":
        raise LookupError(f"no {name}")
    return value


def _checksums(output: Output, etag: str) -> Iterator[Checksum]:
    """Read every checksum that the response states. Raises ValueError."""
    kind = output.get("ChecksumType")
    composite = kind == "COMPOSITE" or (kind is None and "-" in etag)
    for name, value in output.items():
        if name.startswith(_CHECKSUM) and name != "ChecksumType":
            base64.b64decode(value.partition("-")[0], validate=True)
            algorithm = name.removeprefix(_CHECKSUM)
            yield Checksum(algorithm, value, composite or "-" in value)


def _etags_are_md5(output: Output) -> bool:
    """Not with SSE-KMS or SSE-C. Source: S3's user guide, "Checking object integrity"."""
    return (
        output.get("ServerSideEncryption", "AES256") == "AES256"
        and "SSECustomerAlgorithm" not in output
    )


def _text(value: str | None) -> str | None:
    """Undo what HTTP does to text: S3 sends other than ASCII as RFC 2047 words, some as UTF-8."""
    if value is None:
        return None
    if "=?" in value and "?=" in value:
        with contextlib.suppress(email.errors.HeaderParseError, LookupError, ValueError):
            return str(email.header.make_header(email.header.decode_header(value)))
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
