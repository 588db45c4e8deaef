"""Requests and responses: Werkzeug's, with a body that is read as it arrives."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl

from werkzeug.datastructures import Headers
from werkzeug.sansio.request import Request as SansIORequest
from werkzeug.wrappers import Response as WerkzeugResponse

from tools.local.gcs import partial
from tools.local.gcs.body import Body
from tools.local.gcs.errors import ApiError, invalid
from tools.local.gcs.faults import Fault, corrupted
from tools.local.gcs.gzip_body import inflated
from tools.local.gcs.preconditions import Preconditions

MAX_JSON_BYTES = 1024 * 1024


class Request(SansIORequest):
    """A request being served, and what is known about it so far. `path` is percent-encoded."""

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: Headers,
        body: Body,
        server_url: str,
    ) -> None:
        super().__init__(method, "http", None, "", path, query.encode(), headers, None)
        self.body = body
        self.server_url = server_url  # the server's address as this client sees it
        self.operation = "unknown"
        self.bucket: str | None = None
        self.name: str | None = None
        self.fault: Fault | None = None
        self.selection: partial.Selection | None = None  # the parts of the resource to return

    @cached_property
    def query(self) -> dict[str, str]:
        """The query parameters; the last one of a repeated name."""
        return _parse_form(self.query_string)

    @property
    def preconditions(self) -> Preconditions:
        """The conditions in the query."""
        return Preconditions.parse(self.query)

    @property
    def is_gzip(self) -> bool:
        """Whether the body is compressed on its way, whatever the object's own encoding is."""
        return bool(self.headers.get("Content-Encoding", "").lower() == "gzip")

    def chunks(self) -> Iterator[bytes]:
        """Yield the body without the encoding that it has on its way."""
        chunks = self.body.chunks()
        return inflated(chunks) if self.is_gzip else chunks

    def selected(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what `fields` selects of a payload."""
        return partial.pick(self.selection, payload) if self.selection else payload

    def content(self, chunks: Iterator[bytes] | None = None) -> Iterator[bytes]:
        """Yield the object's bytes in this request, corrupted where a fault says so."""
        chunks = self.chunks() if chunks is None else chunks
        return corrupted(chunks) if self.fault and self.fault.corrupt else chunks

    def data(self) -> bytes:
        """Return a small body; a body over 1 MiB is refused."""
        data = bytearray()
        for chunk in self.body.chunks():
            data += chunk
            if len(data) > MAX_JSON_BYTES:
                raise ApiError(413, "uploadTooLarge", "The request body is too large.")
        return bytes(data)

    def json(self) -> dict[str, Any]:
        """Return a small JSON body; an absent one is an empty object."""
        return json_object(self.data())

    def form(self) -> dict[str, str]:
        """Return a small form."""
        return _parse_form(self.data())


class Response(WerkzeugResponse):
    """A response. One whose body is an iterator needs a Content-Length header."""

    default_mimetype = None


class Resource(Protocol):
    """An object or a bucket."""

    def resource(self, server_url: str) -> dict[str, Any]:
        """Return its JSON resource, with links to a server."""


def _parse_form(data: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(data.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError as error:
        raise invalid("The query string or form is not UTF-8.") from error


def json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; no data are an empty one."""
    try:
        value = json.loads(data or b"{}")
    except ValueError as error:
        raise ApiError(400, "parseError", "Parse Error") from error
    if not isinstance(value, dict):
        raise ApiError(400, "parseError", "Parse Error")
    return value


def empty_response(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response without a body."""
    return Response(b"", status, headers)


def json_response(
    payload: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response whose body is JSON."""
    data = json.dumps(payload, ensure_ascii=False).encode()
    return Response(data, status, headers, content_type="application/json; charset=UTF-8")


def resource_response(
    request: Request, found: Resource, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a resource, or the parts of it that `fields` selects."""
    return json_response(request.selected(found.resource(request.server_url)), headers=headers)


def error_response(error: ApiError) -> Response:
    """Return an error; 304 has no body."""
    if error.status == HTTPStatus.NOT_MODIFIED:
        return Response(status=304, headers=error.headers)
    return json_response(error.payload(), status=error.status, headers=error.headers)
