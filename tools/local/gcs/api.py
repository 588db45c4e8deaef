"""The route table: from a request to the operation that serves it, and back with any refusal."""

import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from tools.local.gcs import (
    admin,
    buckets,
    copies,
    listing,
    oauth,
    objects,
    partial,
    scopes,
    uploads,
)
from tools.local.gcs.errors import ApiError, ConnectionCutError, invalid, not_found
from tools.local.gcs.exchange import Request, Response, error_response
from tools.local.gcs.partial import Schema
from tools.local.gcs.service import Service

_BUCKETS = "/storage/v1/b"
_BUCKET = f"{_BUCKETS}/(?P<bucket>[^/]+)"
_OBJECTS = f"{_BUCKET}/o"
_OBJECT = f"{_OBJECTS}/(?P<name>[^/]+)"
_TO = "/b/(?P<to_bucket>[^/]+)/o/(?P<to_name>[^/]+)"
_UPLOADS = f"(?:/resumable)?/upload{_OBJECTS}"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. Uploads begin themselves: their name may be in the body."""

    method: str
    path: re.Pattern[str]
    operation: str
    serve: Callable[..., Response]
    is_upload: bool = False
    schema: Schema | None = None  # what `fields` can select of the answer

    @property
    def accepted_scopes(self) -> tuple[str, ...]:
        """Any of these is enough for the request."""
        if self.operation in {"objects.patch", "objects.update"}:
            return scopes.ADMINISTER
        return scopes.READ if self.method == "GET" else scopes.WRITE


def _route(
    method: str,
    path: str,
    operation: str,
    serve: Callable[..., Response],
    schema: Schema | None = None,
) -> Route:
    is_upload = operation.startswith("upload.")
    return Route(method, re.compile(path), operation, serve, is_upload, schema)


_ROUTES = (
    _route("GET", f"(?:/download)?{_OBJECT}", "objects.get", objects.get, partial.OBJECT),
    _route("POST", _UPLOADS, "upload.insert", uploads.insert, partial.OBJECT),
    _route("PUT", _UPLOADS, "upload.put", uploads.put),
    _route("DELETE", _UPLOADS, "upload.cancel", uploads.cancel),
    _route("PATCH", _OBJECT, "objects.patch", objects.patch, partial.OBJECT),
    _route("PUT", _OBJECT, "objects.update", objects.update, partial.OBJECT),
    _route("DELETE", _OBJECT, "objects.delete", objects.delete),
    _route("GET", _OBJECTS, "objects.list", listing.list_, partial.OBJECTS),
    _route("POST", f"{_OBJECT}/compose", "objects.compose", copies.compose, partial.OBJECT),
    _route("POST", f"{_OBJECT}/rewriteTo{_TO}", "objects.rewrite", copies.rewrite, partial.REWRITE),
    _route("POST", f"{_OBJECT}/copyTo{_TO}", "objects.copy", copies.copy, partial.OBJECT),
    _route("POST", _BUCKETS, "buckets.insert", buckets.create, partial.BUCKET),
    _route("GET", _BUCKETS, "buckets.list", buckets.list_, partial.BUCKETS),
    _route("GET", _BUCKET, "buckets.get", buckets.get, partial.BUCKET),
    _route("DELETE", _BUCKET, "buckets.delete", buckets.delete),
    _route(
        "GET",
        f"{_BUCKET}/iam/testPermissions",
        "buckets.testIamPermissions",
        buckets.test_iam_permissions,
        partial.PERMISSIONS,
    ),
    _route("POST", "/token", "token", oauth.token),
    _route("POST", "/sts/token", "sts.token", oauth.exchange),
    _route(
        "POST",
        "/v1/projects/-/serviceAccounts/(?P<email>[^/:]+):generateAccessToken",
        "iam.generateAccessToken",
        oauth.impersonate,
    ),
)
_ADMIN_ROUTES = (
    _route("POST", "/_local/keys", "admin", admin.create_key),
    _route("DELETE", "/_local/keys/(?P<key_id>[^/]+)", "admin", admin.revoke_key),
    _route("POST", "/_local/tokens", "admin", admin.create_token),
    _route("GET", "/_local/external-account", "admin", admin.get_external_account),
    _route("POST", "/_local/faults", "admin", admin.add_fault),
    _route("DELETE", "/_local/faults", "admin", admin.clear_faults),
    _route("GET", "/_local/requests", "admin", admin.requests),
    _route("DELETE", "/_local/requests", "admin", admin.clear_requests),
    _route("GET", "/_local/sessions", "admin", admin.sessions),
)


def answer(service: Service, request: Request) -> Response:
    """Serve a request; every refusal becomes an answer, and a bug becomes a 500."""
    if request.path.startswith("/_local/"):
        return _answer(service, request, _ADMIN_ROUTES)
    try:
        response = _answer(service, request, _ROUTES)
    except ConnectionCutError:
        service.journal.note(request, None)
        raise
    is_lost = request.fault is not None and request.fault.lose_response
    service.journal.note(request, None if is_lost else response.status)
    return response


def _answer(service: Service, request: Request, routes: tuple[Route, ...]) -> Response:
    try:
        return _dispatch(service, request, routes)
    except ApiError as error:
        return error_response(error)
    except ConnectionCutError:
        raise
    except Exception:  # noqa: BLE001 - a bug of ours must not look like a hang
        traceback.print_exc(file=sys.stderr)
        return error_response(ApiError(500, "internalError", "Internal error, see stderr."))


def _dispatch(service: Service, request: Request, routes: tuple[Route, ...]) -> Response:
    for route in routes:
        match = route.path.fullmatch(request.path)
        if match and route.method == request.method:
            break
    else:
        raise not_found(f"No such route: {request.method} {request.path}")
    parameters = {key: _decoded(value) for key, value in match.groupdict().items()}
    request.operation = route.operation
    if service.auth and _needs_token(request):
        token = service.keyring.authenticate(request.headers.get("authorization"))
        scopes.check(token.scopes, route.accepted_scopes)
    if route.schema:
        request.selection = partial.parse(request.query.get("fields"), route.schema)
    if routes is _ROUTES and not route.is_upload:
        service.begin(
            request, route.operation, bucket=parameters.get("bucket"), name=parameters.get("name")
        )
    return route.serve(service, request, **parameters)


def _needs_token(request: Request) -> bool:
    """An upload session's address is a secret of its own, and does; a token with it is checked."""
    if "upload_id" in request.query and "authorization" not in request.headers:
        return False
    return "/storage/v1/" in request.path


def _decoded(segment: str) -> str:
    """Undo percent-encoding; `http.server` hands raw bytes over as Latin-1."""
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode()
    except UnicodeDecodeError as error:
        raise invalid("The path is not UTF-8.") from error
