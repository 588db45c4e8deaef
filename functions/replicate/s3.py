"""The source: S3's REST API, its requests signed by botocore.

A call through a boto3 client costs several times the CPU of the request itself, and two are made
for every object: so the requests are written here, and botocore gives credentials and signature.
"""

import contextlib
import email.errors
import email.header
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from replicate.connections import BrokenConnectionError, Connections, Response
from replicate.deadline import Deadline
from replicate.errors import (
    InvalidNameError,
    ReplicationError,
    SourceArchivedError,
    SourceBucketNotFoundError,
    SourceChangedError,
    SourceForbiddenError,
    SourceUnavailableError,
    ThrottledError,
)
from replicate.objects import Checksum, SourceObject, SourceRef
from replicate.retry import Patience, retry_after, retrying

_CHECKSUM = "x-amz-checksum-"
_META = "x-amz-meta-"
_MD5 = re.compile(r"[0-9a-f]{32}")
_ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,100})</Code>")
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


class S3Client:
    """Signed requests to S3, for the life of the execution environment. Safe across threads."""

    def __init__(self, credentials: Credentials, region: str, endpoint: str | None = None) -> None:
        self._credentials = credentials
        self._region = region
        self._endpoint = endpoint
        self._region_of: dict[str, str] = {}
        self._connections: dict[str, Connections] = {}

    def request(
        self,
        method: str,
        ref: SourceRef,
        headers: Mapping[str, str],
        deadline: Deadline,
        version_id: str | None = None,
    ) -> Response:
        """Ask the bucket's own region about an object. Raises BrokenConnectionError."""
        query = f"?versionId={quote(version_id, safe='')}" if version_id else ""
        asked = self._region_of.get(ref.bucket, self._region)
        response = self._send(method, ref, query, headers, asked, deadline)
        region = response.headers.get("x-amz-bucket-region")
        if region and region != asked and response.status in {301, 307, 400}:
            response.close()
            self._region_of[ref.bucket] = region
            response = self._send(method, ref, query, headers, region, deadline)
        return response

    def _send(
        self,
        method: str,
        ref: SourceRef,
        query: str,
        headers: Mapping[str, str],
        region: str,
        deadline: Deadline,
    ) -> Response:
        base, path = self._address(ref, region)
        request = AWSRequest(method=method, url=base + path + query, headers=headers)
        S3SigV4Auth(self._credentials, "s3", region).add_auth(request)
        connections = self._connections.get(base)
        if connections is None:
            connections = self._connections.setdefault(base, Connections(base))
        return connections.request(method, path + query, dict(request.headers.items()), deadline)

    def _address(self, ref: SourceRef, region: str) -> tuple[str, str]:
        """Base URL and path of an object. Source: S3's user guide, "Virtual hosting of buckets"."""
        key = quote(ref.key, safe="/~")
        if self._endpoint is not None:
            return self._endpoint.rstrip("/"), f"/{ref.bucket}/{key}"
        host = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
        if _HOST_LABEL.fullmatch(ref.bucket):
            return f"https://{ref.bucket}.{host}", f"/{key}"
        return f"https://{host}", f"/{ref.bucket}/{key}"  # a certificate's wildcard covers no dots


class S3Source:
    """S3 as the protocol's source, for one invocation."""

    def __init__(self, client: S3Client, deadline: Deadline) -> None:
        self._client = client
        self.deadline = deadline

    def head(self, ref: SourceRef) -> SourceObject | None:
        with self._ask("HEAD", ref) as response:
            if response.status == HTTPStatus.OK:
                return _describe(ref, response.headers)
        # An answer to HEAD has no body and so no reason; the answer to a GET has.
        with self.open(ref) as body:
            return body.object if body else None

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None
    ) -> Iterator["S3Body | None"]:
        response = self._get(ref, version)
        if response is None:
            if version is not None:
                raise SourceChangedError
            yield None
            return
        body = S3Body(self, version or _describe(ref, response.headers), response)
        try:
            yield body
        finally:
            body.close()

    def resume(self, version: SourceObject, offset: int) -> Response:
        """The rest of exactly this version. Raises SourceChangedError."""
        response = self._get(version.ref, version, offset)
        if response is None:
            raise SourceChangedError
        if response.status == (HTTPStatus.PARTIAL_CONTENT if offset else HTTPStatus.OK):
            return response
        response.close()
        raise SourceUnavailableError(
            f"S3 ignored that only a part of {version.ref.uri} was asked for. Try again."
        )

    def _get(
        self, ref: SourceRef, version: SourceObject | None = None, offset: int = 0
    ) -> Response | None:
        """Ask for an object's bytes; None when there is no object. Raises SourceChangedError."""
        headers = {}
        if version is not None:
            headers["If-Match"] = f'"{version.etag}"'
        if offset:
            headers["Range"] = f"bytes={offset}-"
        response = self._ask("GET", ref, headers, version.version_id if version else None)
        if response.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return response
        with response:
            if response.status == HTTPStatus.PRECONDITION_FAILED:
                raise SourceChangedError
            code = _code(response)
            if response.status == HTTPStatus.NOT_FOUND and code != "NoSuchBucket":
                return None
            _raise(ref, response, code)

    def _ask(
        self,
        method: str,
        ref: SourceRef,
        headers: Mapping[str, str] | None = None,
        version_id: str | None = None,
    ) -> Response:
        """Send one request; again when that may help, because reading changes nothing."""
        headers = {"x-amz-checksum-mode": "ENABLED", **(headers or {})}

        def attempt() -> Response:
            try:
                response = self._client.request(method, ref, headers, self.deadline, version_id)
            except BrokenConnectionError as error:
                raise _broken(ref, error) from error
            if (
                response.status == HTTPStatus.TOO_MANY_REQUESTS
                or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            ):
                with response:
                    _raise(ref, response, _code(response))
            return response

        return retrying(attempt, self.deadline)


class S3Body:
    """The bytes of one version. A stream that breaks off is continued where it ended."""

    def __init__(self, source: S3Source, version: SourceObject, response: Response) -> None:
        self._source = source
        self._response: Response | None = response
        self._position = 0
        self.object = version

    def readinto(self, buffer: memoryview) -> int:
        wanted = min(len(buffer), self.object.size - self._position)
        count = 0
        patience = Patience(self._source.deadline)
        while count < wanted:
            if self._response is None:
                self._response = self._source.resume(self.object, self._position)
            try:
                got = self._response.readinto(buffer[count:wanted])
            except BrokenConnectionError as error:
                self.close()
                patience.failed(_broken(self.object.ref, error))
                continue
            if got:
                patience.progressed()
            else:
                self.close()
                patience.failed(_broken(self.object.ref, "it ended early"))
            count += got
            self._position += got
        return count

    def rewind(self, offset: int) -> None:
        if offset != self._position:
            self.close()
            self._position = offset

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _describe(ref: SourceRef, headers: Mapping[str, str]) -> SourceObject:
    """Read the headers of a HEAD or of a GET of the whole object. Raises SourceUnavailableError."""
    try:
        return _read_headers(ref, headers)
    except (LookupError, ValueError, TypeError) as error:
        raise SourceUnavailableError(
            f"S3's description of {ref.uri} cannot be understood ({error!r}). Try again."
        ) from error


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
        etag_is_md5=_etag_is_md5(etag, headers),
        request_id=headers.get("x-amz-request-id"),
    )


def _stated(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise LookupError(f"no {name}")
    return value


def _checksums(headers: Mapping[str, str], names: list[str]) -> Iterator[Checksum]:
    for name in names:
        algorithm = name.removeprefix(_CHECKSUM).upper()
        if name.startswith(_CHECKSUM) and algorithm != "TYPE":
            value = headers[name]
            composite = headers.get(_CHECKSUM + "type") == "COMPOSITE" or "-" in value
            yield Checksum(algorithm, value, composite)


def _etag_is_md5(etag: str, headers: Mapping[str, str]) -> bool:
    """Not with SSE-KMS, SSE-C, multipart. Source: S3's user guide, "Checking object integrity"."""
    encrypted_otherwise = (
        headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )
    return bool(_MD5.fullmatch(etag)) and not encrypted_otherwise


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


def _code(response: Response) -> str:
    """S3's error code; empty when the answer has none."""
    try:
        found = _ERROR_CODE.search(response.read())
    except BrokenConnectionError:
        return ""
    return found[1].decode() if found else ""


def _broken(ref: SourceRef, why: object) -> SourceUnavailableError:
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


def _raise(ref: SourceRef, response: Response, code: str) -> NoReturn:
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
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return SourceUnavailableError, "S3 failed. Try again"
    return SourceForbiddenError, (
        "access denied. Allow the function's role s3:GetObject and s3:GetObjectVersion on it,"
        " s3:ListBucket on the bucket, and kms:Decrypt on the object's key, if it has one"
    )
