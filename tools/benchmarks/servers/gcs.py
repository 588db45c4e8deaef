"""GCS as a sink: it throws the bytes away, after it has checked that they are the right ones."""

import base64
import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from awscrt import checksums

from tools.benchmarks import series
from tools.benchmarks.series import Series
from tools.benchmarks.servers.journal import Journal
from tools.benchmarks.servers.web import Answer, Request

BUCKET = "destination"
TOKEN = "ya29." + "x" * 1019
QUANTUM = 256 * 1024
_API = f"/storage/v1/b/{BUCKET}"
_UPLOAD = f"/upload/storage/v1/b/{BUCKET}/o"
_TIME = "2026-11-01T12:00:00.000Z"
_RANGE = re.compile(r"bytes (?:\*|(\d+)-(\d+))/(?:\*|(\d+))")
_BOUNDARY = re.compile(r'boundary="?([^";]+)')

_Resource = dict[str, Any]


@dataclass(slots=True)
class _Upload:
    """What has arrived of one object."""

    resource: _Resource
    conditions: Mapping[str, str]
    size: int = 0
    crc32c: int = 0

    def take(self, piece: Any) -> None:  # noqa: ANN401 - anything that has bytes
        self.size += len(piece)
        self.crc32c = checksums.crc32c(piece, self.crc32c)


@dataclass(slots=True)
class Gcs:
    """One bucket, and Google's token service."""

    journal: Journal = field(default_factory=Journal)
    _objects: dict[str, _Resource] = field(default_factory=dict)
    _uploads: dict[str, _Upload] = field(default_factory=dict)
    _generation: int = 1_790_000_000_000_000
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Answer:
        if request.path == "/token":
            token = {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}
            return Answer.of_json("POST token", HTTPStatus.OK, token)
        session = request.query.get("upload_id")
        if session is None and request.headers.get("authorization") != f"Bearer {TOKEN}":
            self.journal.wrong(f"{request.method} {request.path} has no token")
            return _error("unauthorized", HTTPStatus.UNAUTHORIZED)
        if request.path == _UPLOAD:
            return self._upload(request, session)
        return self._look(request)

    def _look(self, request: Request) -> Answer:
        if request.path == f"{_API}/o":
            return self._list(request.query.get("prefix", ""))
        if request.path == _API:
            return Answer.of_json("GET bucket", HTTPStatus.OK, {"name": BUCKET})
        if request.method == "GET" and request.path.startswith(f"{_API}/o/"):
            return self._get(request)
        return _error(f"{request.method} unknown", HTTPStatus.NOT_FOUND)

    def _get(self, request: Request) -> Answer:
        found = self._objects.get(request.path.removeprefix(f"{_API}/o/"))
        if found is None:
            return _error("GET object", HTTPStatus.NOT_FOUND)
        return Answer.of_json("GET object", HTTPStatus.OK, _only(found, request))

    def _list(self, prefix: str) -> Answer:
        with self._lock:
            items = [item for name, item in self._objects.items() if name.startswith(prefix)]
        return Answer.of_json("GET list", HTTPStatus.OK, {"items": items})

    def _upload(self, request: Request, session: str | None) -> Answer:
        if session is None and request.query.get("uploadType") == "resumable":
            return self._open(request)
        if session is None:
            return self._multipart(request)
        return self._continue(request, session)

    def _multipart(self, request: Request) -> Answer:
        """Metadata and bytes in one request."""
        boundary = _BOUNDARY.search(request.headers["content-type"])
        delimiter = b"--" + (boundary[1] if boundary else "").encode()
        _, resource, media = request.body.read().split(delimiter, 2)
        upload = _Upload(
            _named(json.loads(resource.partition(b"\r\n\r\n")[2]), request), request.query
        )
        upload.take(media.partition(b"\r\n\r\n")[2].rpartition(b"\r\n" + delimiter + b"--")[0])
        return self._finish("POST object", upload, request)

    def _open(self, request: Request) -> Answer:
        session = secrets.token_hex(32)
        resource = _named(json.loads(request.body.read() or b"{}"), request)
        self._uploads[session] = _Upload(resource, request.query)
        location = (
            f"https://{request.headers['host']}{_UPLOAD}?uploadType=resumable&upload_id={session}"
        )
        return Answer("POST session", HTTPStatus.OK, {"Location": location})

    def _continue(self, request: Request, session: str) -> Answer:
        """Take the next bytes of a resumable upload, or say how many there are."""
        upload = self._uploads.get(session)
        sent = _RANGE.fullmatch(request.headers.get("content-range", ""))
        if upload is None or (sent is None and upload.size):
            return _error("PUT unknown", HTTPStatus.NOT_FOUND)
        start, total = (sent[1], sent[3]) if sent else ("0", None)
        if start is not None and int(start) != upload.size:
            self.journal.wrong(f"{upload.resource['name']}: bytes from {start}, not {upload.size}")
            return _error("PUT misplaced", HTTPStatus.BAD_REQUEST)
        if start is not None:
            for piece in request.body.pieces():
                upload.take(piece)
        if sent is None or (total is not None and upload.size == int(total)):
            del self._uploads[session]
            return self._finish("PUT object", upload, request)
        if upload.size % QUANTUM:
            self.journal.wrong(f"{upload.resource['name']}: a chunk ends at {upload.size}")
            return _error("PUT misplaced", HTTPStatus.BAD_REQUEST)
        return _incomplete(upload, request)

    def _finish(self, what: str, upload: _Upload, request: Request) -> Answer:
        """Make an object visible, when it is what it should be."""
        name = upload.resource["name"]
        crc32c = _base64(upload.crc32c.to_bytes(4, "big"))
        stated = request.headers.get("x-goog-hash", f"crc32c={crc32c}")
        declared = upload.resource.get("crc32c", crc32c)
        if stated.removeprefix("crc32c=") != crc32c or declared != crc32c:
            self.journal.wrong(f"{name}: the CRC32C is {crc32c}, not {stated}, {declared}")
            return _error("refused", HTTPStatus.BAD_REQUEST)
        expected = Series.of(name)
        if not expected or (expected.size, _base64(series.crc32c(expected.size))) != (
            upload.size,
            crc32c,
        ):
            self.journal.wrong(f"{name}: {upload.size} bytes with {crc32c} are not this object")
            return _error("refused", HTTPStatus.BAD_REQUEST)
        with self._lock:
            wanted = upload.conditions.get("ifGenerationMatch")
            current = self._objects.get(name)
            if wanted is not None and wanted != (current["generation"] if current else "0"):
                return _error(what, HTTPStatus.PRECONDITION_FAILED)
            self._generation += 1
            stored = _stored(upload, crc32c, str(self._generation))
            self._objects[name] = stored
        self.journal.wrote()
        return Answer.of_json(what, HTTPStatus.OK, _only(stored, request))


def _named(resource: _Resource, request: Request) -> _Resource:
    return {"name": request.query.get("name"), **resource}


def _stored(upload: _Upload, crc32c: str, generation: str) -> _Resource:
    md5 = series.md5(upload.size)
    name = upload.resource["name"]
    stored = {
        "kind": "storage#object",
        "id": f"{BUCKET}/{name}/{generation}",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        **upload.resource,
        "bucket": BUCKET,
        "generation": generation,
        "metageneration": "1",
        "size": str(upload.size),
        "crc32c": crc32c,
        "etag": "CAE=",
        "timeCreated": _TIME,
        "updated": _TIME,
    }
    return stored if md5 is None else {**stored, "md5Hash": _base64(md5)}


def _incomplete(upload: _Upload, request: Request) -> Answer:
    headers = {"Range": f"bytes=0-{upload.size - 1}"} if upload.size else {}
    if request.headers.get("x-guploader-no-308") == "yes":  # Go's client library wants it so
        return Answer("PUT chunk", HTTPStatus.OK, {**headers, "X-Http-Status-Code-Override": "308"})
    return Answer("PUT chunk", HTTPStatus.PERMANENT_REDIRECT, headers)


def _only(resource: _Resource, request: Request) -> _Resource:
    """The fields that were asked for."""
    fields = request.query.get("fields", "*")
    if fields == "*" or "(" in fields:
        return resource
    return {name: value for name, value in resource.items() if name in fields.split(",")}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _error(what: str, status: HTTPStatus) -> Answer:
    reasons = {
        HTTPStatus.PRECONDITION_FAILED: "conditionNotMet",
        HTTPStatus.NOT_FOUND: "notFound",
        HTTPStatus.UNAUTHORIZED: "authError",
    }
    reason = reasons.get(status, "invalid")
    error = {"code": status, "message": reason, "errors": [{"reason": reason, "message": reason}]}
    return Answer.of_json(what, status, {"error": error})
