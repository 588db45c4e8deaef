"""S3 as a source of any object, and one secret in Secrets Manager."""

import base64
import json
from email.utils import formatdate
from http import HTTPStatus
from itertools import count

from tools.benchmarks.series import Series, content, content_type, crc64nvme, etag
from tools.benchmarks.servers.journal import Journal
from tools.benchmarks.servers.listing import Listed, list_s3
from tools.benchmarks.servers.web import Request, Response

BUCKET = "source"
REPORTS = "reports"
"""A bucket that keeps what is put into it."""

MODIFIED = "Sun, 01 Nov 2026 12:00:00 GMT"
_MODIFIED_ISO = "2026-11-01T12:00:00.000Z"


class Aws:
    """Both services at one address, as `AWS_ENDPOINT_URL` allows."""

    def __init__(self, secret: str) -> None:
        self.journal = Journal()
        self._secret = secret
        self._request_ids = count()
        self._files: dict[str, bytes] = {}

    def respond(self, request: Request) -> Response:
        if not request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
            self.journal.add_error(f"{request.method} {request.path} is not signed")
        if request.headers.get("x-amz-target") == "secretsmanager.GetSecretValue":
            name = json.loads(request.body.read())["SecretId"]
            secret = {"Name": name, "SecretString": self._secret}
            return Response.of_json("POST secret", HTTPStatus.OK, secret)
        bucket, _, key = request.path.removeprefix("/").partition("/")
        if bucket == REPORTS:
            return self._file(request, key)
        if bucket == BUCKET and not key and request.query.get("list-type") == "2":
            if listed := Listed.of(request.query.get("prefix", "")):
                return list_s3(listed, request)
            return _list(request.query.get("prefix", ""))
        series = Series.of(key)
        if bucket != BUCKET or series is None or request.method not in {"GET", "HEAD"}:
            return _error(HTTPStatus.NOT_FOUND, "NoSuchKey")
        return self._object(request, series.size)

    def _file(self, request: Request, key: str) -> Response:
        if request.method == "PUT":
            self._files[key] = request.body.read()
            return Response("PUT file", HTTPStatus.OK, {"ETag": '"0"'})
        if key not in self._files:
            return _error(HTTPStatus.NOT_FOUND, "NoSuchKey")
        return Response("GET file", HTTPStatus.OK, {"ETag": '"0"'}, self._files[key])

    def _object(self, request: Request, size: int) -> Response:
        if request.headers.get("if-match", etag(size)).strip('"') != etag(size):
            return _error(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
        name, status, start, end = f"{request.method} object", HTTPStatus.OK, 0, size
        headers = {
            "x-amz-id-2": base64.b64encode(bytes(56)).decode(),
            "x-amz-request-id": f"{next(self._request_ids):016X}",
            "Date": formatdate(usegmt=True),
            "Last-Modified": MODIFIED,
            "ETag": f'"{etag(size)}"',
            "x-amz-server-side-encryption": "AES256",
        }
        if request.headers.get("x-amz-checksum-mode") == "ENABLED":
            headers["x-amz-checksum-crc64nvme"] = base64.b64encode(crc64nvme(size)).decode()
            headers["x-amz-checksum-type"] = "FULL_OBJECT"
        if "range" in request.headers:
            first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
            start, end = int(first), min(size, int(last or size) + 1)
            name, status = "GET range", HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers |= {
            "Accept-Ranges": "bytes",
            "Content-Type": content_type(),
            "Content-Length": str(end - start),
            "Server": "AmazonS3",
        }
        return Response(name, status, headers, content(start, end))


def _list(prefix: str) -> Response:
    """List a series. Its keys need no escapes."""
    series = Series.of(prefix)
    keys, size = (series.keys, series.size) if series else ([], 0)
    listed = "".join(
        f"<Contents><Key>{key}</Key><LastModified>{_MODIFIED_ISO}</LastModified>"
        f"<ETag>&quot;{etag(size)}&quot;</ETag><Size>{size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for key in keys
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix>{prefix}</Prefix><KeyCount>{len(keys)}</KeyCount>"
        f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"
    )
    return Response("GET list", HTTPStatus.OK, {"Content-Type": "application/xml"}, xml.encode())


def _error(status: HTTPStatus, code: str) -> Response:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return Response(code, status, {"Content-Type": "application/xml"}, body)
