"""GCS as a sink: it checks that the bytes are the right ones, and does not keep them."""

import base64
import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from awscrt import checksums

from tools.benchmarks import series
from tools.benchmarks.servers.changes import STAGING, RefusedError, change, is_expected
from tools.benchmarks.servers.journal import Journal
from tools.benchmarks.servers.listing import Listed, list_gcs
from tools.benchmarks.servers.web import Request, Response
from tools.benchmarks.servers.xml_api import XmlApi
from tools.local.gcs.gzip_body import inflated

BUCKET = "destination"
TOKEN = "ya29." + "x" * 1019
CHUNK_MULTIPLE = 256 * 1024
_API = f"/storage/v1/b/{BUCKET}"
_UPLOAD = f"/upload/storage/v1/b/{BUCKET}/o"
_TIME = "2026-11-01T12:00:00.000Z"
_RANGE = re.compile(r"bytes (?:\*|(\d+)-(\d+))/(?:\*|(\d+))")
_BOUNDARY = re.compile(r'boundary="?([^";]+)')
_REASONS = {
    HTTPStatus.PRECONDITION_FAILED: "conditionNotMet",
    HTTPStatus.NOT_FOUND: "notFound",
    HTTPStatus.UNAUTHORIZED: "authError",
}

_Resource = dict[str, Any]


@dataclass(slots=True)
class _Upload:
    """What has arrived of one object."""

    resource: _Resource
    conditions: Mapping[str, str]
    size: int = 0
    crc: int = 0

    @property
    def name(self) -> str:
        return str(self.resource["name"])

    @property
    def crc32c(self) -> str:
        return _base64(self.crc.to_bytes(4, "big"))

    def add(self, piece: Any) -> None:  # noqa: ANN401 - anything with bytes
        self.size += len(piece)
        self.crc = checksums.crc32c(piece, self.crc)


class Gcs:
    """One bucket, and Google's token service."""

    def __init__(self) -> None:
        self.journal = Journal()
        self._objects: dict[str, _Resource] = {}
        self._uploads: dict[str, _Upload] = {}
        self._generation = 1_790_000_000_000_000
        self._lock = threading.Lock()
        self._xml = XmlApi(BUCKET, self.journal)

    def respond(self, request: Request) -> Response:
        if request.path.startswith(f"/{BUCKET}"):
            return self._xml.respond(request)
        return self._respond(request)

    def _respond(self, request: Request) -> Response:
        """Respond to a request to the JSON API or to the token service."""
        if request.path == "/token":
            token = {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}
            return Response.of_json("POST token", HTTPStatus.OK, token)
        session = request.query.get("upload_id")
        if session is None and request.headers.get("authorization") != f"Bearer {TOKEN}":
            self.journal.add_error(f"{request.method} {request.path} has no token")
            return _error("unauthorized", HTTPStatus.UNAUTHORIZED)
        if request.path != _UPLOAD:
            return self._read(request)
        if session:
            return self._continue(request, session)
        if request.query.get("uploadType") == "resumable":
            return self._open(request)
        return self._multipart(request)

    def _read(self, request: Request) -> Response:
        if request.path == f"{_API}/o":
            return self._list(request)
        if request.path == _API:
            return Response.of_json("GET bucket", HTTPStatus.OK, {"name": BUCKET})
        if request.path == f"{_API}/iam/testPermissions":
            granted = {"permissions": ["storage.objects.delete", "storage.objects.update"]}
            return Response.of_json("GET permissions", HTTPStatus.OK, granted)
        name = request.path.removeprefix(f"{_API}/o/")
        if request.method != "GET":
            return self._change(request, name)
        found = self._objects.get(name)
        if found is None:
            return _error("GET object", HTTPStatus.NOT_FOUND)
        return Response.of_json("GET object", HTTPStatus.OK, _selected(found, request))

    def _list(self, request: Request) -> Response:
        prefix = request.query.get("prefix", "")
        if listed := Listed.of(prefix):
            return list_gcs(listed, request)
        with self._lock:
            items = [item for name, item in self._objects.items() if name.startswith(prefix)]
        return Response.of_json("GET list", HTTPStatus.OK, {"items": items})

    def _change(self, request: Request, name: str) -> Response:
        """Compose, patch or delete an object."""
        kind = f"{request.method} {'compose' if request.method == 'POST' else 'object'}"
        try:
            with self._lock:
                changed = change(self._objects, name, request, self._created)
        except RefusedError as refused:
            return _error(kind, refused.status)
        if request.method == "POST" and not changed["name"].startswith(STAGING):
            self.journal.add_write()
        return Response.of_json(kind, HTTPStatus.OK, _selected(changed, request))

    def _created(self, resource: _Resource) -> _Resource:
        """Return the resource of a new object, which has the next generation."""
        self._generation += 1
        return {
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            **resource,
            "bucket": BUCKET,
            "generation": str(self._generation),
            "metageneration": "1",
            "updated": _TIME,
        }

    def _multipart(self, request: Request) -> Response:
        """Take metadata and bytes in one request."""
        boundary = _BOUNDARY.search(request.headers["content-type"])
        delimiter = b"--" + (boundary[1] if boundary else "").encode()
        _, resource, media = request.body.read().split(delimiter, 2)
        upload = _upload(request, resource.partition(b"\r\n\r\n")[2])
        upload.add(media.partition(b"\r\n\r\n")[2].rpartition(b"\r\n" + delimiter + b"--")[0])
        return self._finish("POST object", upload, request)

    def _open(self, request: Request) -> Response:
        session = secrets.token_hex(32)
        self._uploads[session] = _upload(request, request.body.read() or b"{}")
        url = f"https://{request.headers['host']}{_UPLOAD}?uploadType=resumable&upload_id={session}"
        return Response("POST session", HTTPStatus.OK, {"Location": url})

    def _continue(self, request: Request, session: str) -> Response:
        """Take the next bytes of a resumable upload, or respond how many there are."""
        upload = self._uploads.get(session)
        sent = _RANGE.fullmatch(request.headers.get("content-range", ""))
        if upload is None or (sent is None and upload.size):
            return _error("PUT unknown", HTTPStatus.NOT_FOUND)
        start, total = (sent[1], sent[3]) if sent else ("0", None)
        if start is not None and int(start) != upload.size:
            self.journal.add_error(f"{upload.name}: bytes from {start}, not {upload.size}")
            return _error("PUT misplaced", HTTPStatus.BAD_REQUEST)
        if start is not None:
            pieces = request.body.pieces()
            is_gzip = request.headers.get("content-encoding") == "gzip"
            for piece in inflated(pieces) if is_gzip else pieces:
                upload.add(piece)
            if sent and upload.size != int(sent[2]) + 1:
                raise ValueError(f"{upload.name}: {upload.size} bytes, not as in {sent[0]}")
        if sent is None or (total is not None and upload.size == int(total)):
            del self._uploads[session]
            return self._finish("PUT object", upload, request)
        if upload.size % CHUNK_MULTIPLE:
            self.journal.add_error(f"{upload.name}: a chunk ends at {upload.size}")
            return _error("PUT misplaced", HTTPStatus.BAD_REQUEST)
        return _incomplete(upload, request)

    def _finish(self, name: str, upload: _Upload, request: Request) -> Response:
        """Make an object visible if it has the bytes of its key and all preconditions hold."""
        stated = request.headers.get("x-goog-hash", "").removeprefix("crc32c=")
        declared = {stated or upload.crc32c, upload.resource.get("crc32c", upload.crc32c)}
        metadata = upload.resource.get("metadata", {})
        is_right = is_expected(upload.name, metadata, upload.size, upload.crc32c)
        if not is_right or declared != {upload.crc32c}:
            self.journal.add_error(
                f"{upload.name}: {upload.size} bytes with CRC32C {upload.crc32c}, stated {declared}"
            )
            return _error("refused", HTTPStatus.BAD_REQUEST)
        with self._lock:
            required = upload.conditions.get("ifGenerationMatch")
            current = self._objects.get(upload.name, {}).get("generation", "0")
            if required is not None and required != current:
                return _error(name, HTTPStatus.PRECONDITION_FAILED)
            stored = self._created(_resource(upload))
            self._objects[upload.name] = stored
        if not upload.name.startswith(STAGING):
            self.journal.add_write()
        return Response.of_json(name, HTTPStatus.OK, _selected(stored, request))


def _upload(request: Request, resource: bytes) -> _Upload:
    return _Upload({"name": request.query.get("name"), **json.loads(resource)}, request.query)


def _resource(upload: _Upload) -> _Resource:
    md5 = series.md5(upload.size)
    return {
        **upload.resource,
        "size": str(upload.size),
        "crc32c": upload.crc32c,
        **({"md5Hash": _base64(md5)} if md5 else {}),
    }


def _incomplete(upload: _Upload, request: Request) -> Response:
    headers = {"Range": f"bytes=0-{upload.size - 1}"} if upload.size else {}
    if request.headers.get("x-guploader-no-308") == "yes":  # Go's client library sends it
        headers["X-Http-Status-Code-Override"] = "308"
        return Response("PUT chunk", HTTPStatus.OK, headers)
    return Response("PUT chunk", HTTPStatus.PERMANENT_REDIRECT, headers)


def _selected(resource: _Resource, request: Request) -> _Resource:
    """Return the fields that the request selects."""
    fields = request.query.get("fields", "*")
    if fields == "*" or "(" in fields:
        return resource
    return {name: value for name, value in resource.items() if name in fields.split(",")}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _error(name: str, status: HTTPStatus) -> Response:
    reason = _REASONS.get(status, "invalid")
    error = {"code": status, "message": reason, "errors": [{"reason": reason, "message": reason}]}
    return Response.of_json(name, status, {"error": error})
