"""GCS's XML API: what rclone's S3 client needs to copy an object in parallel parts."""

import base64
import re
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count

from awscrt import checksums

from tools.benchmarks.series import Series, crc32c
from tools.benchmarks.servers.journal import Journal
from tools.benchmarks.servers.web import Request, Response

_PART = re.compile(rb"<PartNumber>(\d+)</PartNumber>")
_TIME = "Sun, 01 Nov 2026 12:00:00 GMT"


@dataclass(slots=True)
class _Upload:
    """A multipart upload: size and CRC32C of each part that has arrived."""

    name: str
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)


class XmlApi:
    """Objects of one bucket. A finished upload has no precondition: the XML API knows none."""

    def __init__(self, bucket: str, journal: Journal) -> None:
        self._bucket = bucket
        self._journal = journal
        self._sizes: dict[str, int] = {}
        self._uploads: dict[str, _Upload] = {}
        self._ids = count(1)
        self._lock = threading.Lock()

    def respond(self, request: Request) -> Response:
        if not request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
            self._journal.add_error(f"{request.method} {request.path} is not signed")
        name = request.path.removeprefix(f"/{self._bucket}").removeprefix("/")
        upload = self._uploads.get(request.query.get("uploadId", ""))
        if request.method == "HEAD":
            return self._head(name)
        if request.method == "GET" and not name:
            listed = f"<ListBucketResult><Name>{self._bucket}</Name></ListBucketResult>"
            return _xml("GET list", listed)
        if request.method == "POST" and "uploads" in request.query:
            return self._start(name)
        if request.method == "PUT" and upload:
            return _put(upload, int(request.query["partNumber"]), request)
        if request.method == "POST" and upload:
            return self._complete(upload, request.body.read())
        raise ValueError("unknown request")

    def _head(self, name: str) -> Response:
        size = self._sizes.get(name)
        if size is None:
            return Response("HEAD object", HTTPStatus.NOT_FOUND)
        headers = {"Content-Length": str(size), "ETag": '"composed"', "Last-Modified": _TIME}
        return Response("HEAD object", HTTPStatus.OK, headers, iter(()))

    def _start(self, name: str) -> Response:
        with self._lock:
            number = str(next(self._ids))
            self._uploads[number] = _Upload(name)
        return _xml(
            "POST uploads",
            f"<InitiateMultipartUploadResult><Bucket>{self._bucket}</Bucket><Key>{name}</Key>"
            f"<UploadId>{number}</UploadId></InitiateMultipartUploadResult>",
        )

    def _complete(self, upload: _Upload, order: bytes) -> Response:
        """Join the parts, and check the bytes of the whole."""
        size, crc = 0, 0
        for number in map(int, _PART.findall(order)):
            part_size, part_crc = upload.parts[number]
            size, crc = size + part_size, checksums.combine_crc32c(crc, part_crc, part_size)
        series = Series.of(upload.name)
        if series is None or (size, crc.to_bytes(4, "big")) != (series.size, crc32c(series.size)):
            raise ValueError(f"{upload.name}: {size} other bytes")
        self._sizes[upload.name] = size
        self._journal.add_write()
        return _xml(
            "POST complete",
            f"<CompleteMultipartUploadResult><Bucket>{self._bucket}</Bucket>"
            f"<Key>{upload.name}</Key><ETag>&quot;composed&quot;</ETag>"
            "</CompleteMultipartUploadResult>",
        )


def _put(upload: _Upload, number: int, request: Request) -> Response:
    size, crc = 0, 0
    for piece in request.body.pieces():
        size, crc = size + len(piece), checksums.crc32c(bytes(piece), crc)
    upload.parts[number] = size, crc
    etag = request.headers.get("content-md5", "")
    return Response("PUT part", HTTPStatus.OK, {"ETag": f'"{base64.b64decode(etag).hex()}"'})


def _xml(name: str, text: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()
    return Response(name, HTTPStatus.OK, {"Content-Type": "application/xml"}, body)
