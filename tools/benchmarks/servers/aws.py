"""S3 as a source, of whatever objects are asked for, and the one secret in Secrets Manager."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from xml.sax.saxutils import escape

from tools.benchmarks.series import Series, content, crc64nvme, etag
from tools.benchmarks.servers.journal import Journal
from tools.benchmarks.servers.web import Answer, Request

BUCKET = "source"
MODIFIED = "Sun, 01 Nov 2026 12:00:00 GMT"
_MODIFIED_ISO = "2026-11-01T12:00:00.000Z"


@dataclass(slots=True)
class Aws:
    """Both services at one address, as `AWS_ENDPOINT_URL` allows."""

    secret: str
    journal: Journal = field(default_factory=Journal)
    _ids: Iterator[int] = field(default_factory=count)

    def answer(self, request: Request) -> Answer:
        if not request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
            self.journal.wrong(f"{request.method} {request.path} is not signed")
        if request.headers.get("x-amz-target") == "secretsmanager.GetSecretValue":
            return self._secret(request)
        bucket, _, key = request.path.removeprefix("/").partition("/")
        if bucket == BUCKET and not key and request.query.get("list-type") == "2":
            return self._list(request.query.get("prefix", ""))
        series = Series.of(key)
        if bucket != BUCKET or series is None or request.method not in {"GET", "HEAD"}:
            return _error(HTTPStatus.NOT_FOUND, "NoSuchKey")
        return self._object(request, series)

    def _object(self, request: Request, series: Series) -> Answer:
        if request.headers.get("if-match", f'"{etag(series.size)}"').strip('"') != etag(
            series.size
        ):
            return _error(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
        what, status, start, end = f"{request.method} object", HTTPStatus.OK, 0, series.size
        headers = {
            "x-amz-id-2": base64.b64encode(bytes(56)).decode(),
            "x-amz-request-id": f"{next(self._ids):016X}",
            "Date": formatdate(usegmt=True),
            "Last-Modified": MODIFIED,
            "ETag": f'"{etag(series.size)}"',
            "x-amz-server-side-encryption": "AES256",
        }
        if request.headers.get("x-amz-checksum-mode", "") == "ENABLED":
            headers["x-amz-checksum-crc64nvme"] = base64.b64encode(crc64nvme(series.size)).decode()
            headers["x-amz-checksum-type"] = "FULL_OBJECT"
        if "range" in request.headers:
            first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
            start, end = int(first), min(series.size, int(last or series.size) + 1)
            what, status = "GET range", HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{series.size}"
        headers |= {
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - start),
            "Server": "AmazonS3",
        }
        return Answer(what, status, headers, content(start, end))

    def _list(self, prefix: str) -> Answer:
        series = Series.of(prefix)
        keys = series.keys if series else []
        listed = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_MODIFIED_ISO}</LastModified>"
            f"<ETag>&quot;{etag(series.size)}&quot;</ETag><Size>{series.size}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys
            if series
        )
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
            f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"
        )
        return Answer("GET list", HTTPStatus.OK, {"Content-Type": "application/xml"}, xml.encode())

    def _secret(self, request: Request) -> Answer:
        name = json.loads(request.body.read())["SecretId"]
        secret = {"Name": name, "SecretString": self.secret}
        return Answer.of_json("POST secret", HTTPStatus.OK, secret)


def _error(status: HTTPStatus, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return Answer(code, status, {"Content-Type": "application/xml"}, body)
