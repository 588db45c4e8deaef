"""What S3 answers, in our own words. Source: S3's API reference, "GetObject", "Error responses"."""

import base64
import contextlib
import email.errors
import email.header
import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NoReturn

from replicate.connections import BrokenConnectionError, Response
from replicate.errors import (
    InvalidNameError,
    ReplicationError,
    SourceArchivedError,
    SourceBucketNotFoundError,
    SourceForbiddenError,
    SourceUnavailableError,
    ThrottledError,
)
from replicate.objects import Checksum, SourceObject, SourceRef
from replicate.retry import may_pass, retry_after

_CHECKSUM = "x-amz-checksum-"
_ABOUT_CHECKSUMS = {"TYPE", "ALGORITHM"}
_META = "x-amz-meta-"
_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-\d+")
_ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,100})</Code>")


def tags(ref: SourceRef, response: Response) -> dict[str, str]:
    """Read a `Tagging` document. Raises SourceUnavailableError."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - most functions replicate no tags

    try:
        tags = ET.fromstring(response.read()).iterfind(".//{*}Tag")  # noqa: S314 - S3's
        return {tag.findtext("{*}Key", ""): tag.findtext("{*}Value", "") for tag in tags}
    except (BrokenConnectionError, ET.ParseError) as error:
        raise broken(ref, error) from error


def describe(ref: SourceRef, headers: Mapping[str, str]) -> SourceObject:
    """Read the headers of a HEAD or of a GET of the whole object. Raises SourceUnavailableError."""
    try:
        return _read_headers(ref, headers)
    except (LookupError, ValueError, TypeError) as error:
        raise _nonsense(ref, error) from error


def part(ref: SourceRef, headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Size and number of an object's parts, as a HEAD of one part says. None: it is not in parts.

    Raises SourceUnavailableError.
    """
    count = headers.get("x-amz-mp-parts-count")
    if count is None:
        return None
    try:
        return int(_stated(headers, "Content-Length")), int(count)
    except (LookupError, ValueError) as error:
        raise _nonsense(ref, error) from error


def _read_headers(ref: SourceRef, headers: Mapping[str, str]) -> SourceObject:
    etag = _stated(headers, "ETag").strip('"')
    version_id = headers.get("x-amz-version-id")
    names = [name.lower() for name in headers]
    return SourceObject(
        ref=ref,
        etag=etag,
        size=int(_stated(headers, "Content-Length")),
        last_modified=parsedate_to_datetime(_stated(headers, "Last-Modified")),
        version_id=None if version_id == "null" else version_id,
        content_type=_text(headers.get("Content-Type")),
        cache_control=_text(headers.get("Cache-Control")),
        content_disposition=_text(headers.get("Content-Disposition")),
        content_encoding=_text(headers.get("Content-Encoding")),
        content_language=_text(headers.get("Content-Language")),
        metadata={n[len(_META) :]: _text(headers[n]) or "" for n in names if n.startswith(_META)},
        storage_class=headers.get("x-amz-storage-class") or "STANDARD",
        checksums=tuple(_checksums(headers, names)),
        etag_is_md5=bool(_MD5.fullmatch(etag)) and _etags_are_md5(headers),
        etag_is_md5_of_parts=bool(_MD5_OF_PARTS.fullmatch(etag)) and _etags_are_md5(headers),
        request_id=headers.get("x-amz-request-id"),
    )


def _nonsense(ref: SourceRef, why: Exception) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"S3's description of {ref.uri} cannot be understood ({why!r}). Try again."
    )


def _stated(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise LookupError(f"no {name}")
    return value


def _checksums(headers: Mapping[str, str], names: list[str]) -> Iterator[Checksum]:
    """Raises ValueError."""
    kind = headers.get(_CHECKSUM + "type")
    composite = kind == "COMPOSITE" or (kind is None and "-" in headers.get("ETag", ""))
    for name in names:
        algorithm = name.removeprefix(_CHECKSUM).upper()
        if name.startswith(_CHECKSUM) and algorithm not in _ABOUT_CHECKSUMS:
            value = headers[name]
            base64.b64decode(value.partition("-")[0], validate=True)
            yield Checksum(algorithm, value, composite or "-" in value)


def _etags_are_md5(headers: Mapping[str, str]) -> bool:
    """Not with SSE-KMS or SSE-C. Source: S3's user guide, "Checking object integrity"."""
    return (
        headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
        and "x-amz-server-side-encryption-customer-algorithm" not in headers
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


def error_code(response: Response) -> str:
    """S3's error code; empty when the answer has none."""
    try:
        found = _ERROR_CODE.search(response.read())
    except BrokenConnectionError:
        return ""
    return found[1].decode() if found else ""


def broken(ref: SourceRef, why: object) -> SourceUnavailableError:
    """A connection to S3 that broke, in our own terms."""
    return SourceUnavailableError(
        f"The connection to S3 broke while reading {ref.uri} ({why}). Try again."
    )


_ARCHIVED = (
    "it is archived. Restore it (aws s3api restore-object), then ask again;"
    " the event of the completed restore does so by itself"
)

_BY_CODE: dict[str, tuple[type[ReplicationError], str]] = {
    "InvalidObjectState": (SourceArchivedError, _ARCHIVED),
    "NoSuchBucket": (SourceBucketNotFoundError, "there is no such bucket. Check its name"),
    "KeyTooLongError": (InvalidNameError, "the key is too long"),
    "SlowDown": (ThrottledError, "S3 asks for fewer requests. Try again later"),
    "RequestTimeout": (SourceUnavailableError, "the request took too long. Try again"),
    "ExpiredToken": (SourceUnavailableError, "the function's AWS credentials expired. Try again"),
    "RequestTimeTooSkewed": (SourceUnavailableError, "the clocks differ. Try again"),
}


def refuse(ref: SourceRef, response: Response, code: str) -> NoReturn:
    """Say in our own terms why S3 did not give what was asked for."""
    error, why = _meaning(response.status, code)
    raise error(
        f"S3 did not give {ref.uri}: {why}. (S3 said {response.status} {code}".rstrip() + ")",
        retry_after_s=retry_after(response.headers),
        request_id=response.headers.get("x-amz-request-id"),
    )


def _meaning(status: int, code: str) -> tuple[type[ReplicationError], str]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _BY_CODE["SlowDown"]
    if may_pass(status):
        return SourceUnavailableError, "S3 failed. Try again"
    return SourceForbiddenError, (
        "access denied. Allow the function's role s3:GetObject and s3:GetObjectVersion on it,"
        " s3:ListBucket on the bucket, and kms:Decrypt on the object's key, if it has one"
    )
