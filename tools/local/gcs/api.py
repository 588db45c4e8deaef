"""The routes: from method and path to an operation, once the access token is checked."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Map, Rule

from tools.local.gcs import (
    admin,
    copies,
    oauth,
    objects,
    partial,
    scopes,
    uploads,
)
from tools.local.gcs.errors import ApiError, ConnectionCutError, invalid, not_found
from tools.local.gcs.messages import Request, Response, error_response
from tools.local.gcs.partial import Schema
from tools.local.gcs.service import Service

_ADMIN = "admin"
_BUCKET = "/storage/v1/b/<bucket>"
_OBJECTS = f"{_BUCKET}/o"
_OBJECT = f"{_OBJECTS}/<name>"
_TO = "/rewriteTo/b/<to_bucket>/o/<to_name>"
_UPLOADS = f"/upload{_OBJECTS}"
_IMPERSONATION = "/v1/projects/-/serviceAccounts/<email>:generateAccessToken"


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """What a route leads to. An upload calls `Service.begin` itself: its body may name it."""

    name: str
    serve: Callable[..., Response]
    schema: Schema | None = None  # what `fields` can select of the response

    def accepted_scopes(self, method: str) -> tuple[str, ...]:
        """Any of these is enough for the request."""
        if method == "PATCH":
            return scopes.ADMINISTER
        return scopes.READ if method == "GET" else scopes.WRITE


class _Segment(BaseConverter):
    """A segment of a path, decoded after the match: a name may contain slashes."""

    def to_python(self, value: str) -> str:
        try:
            return unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise invalid("The path is not UTF-8.") from error


def _rule(method: str, path: str, *operation: Any) -> Rule:  # noqa: ANN401 - Operation's fields
    return Rule(path, methods=[method], endpoint=Operation(*operation))


_ROUTES = Map(
    [
        _rule("GET", _OBJECT, "objects.get", objects.get, partial.OBJECT),
        _rule("GET", f"/download{_OBJECT}", "objects.get", objects.get, partial.OBJECT),
        _rule("POST", _UPLOADS, "upload.insert", uploads.insert, partial.OBJECT),
        _rule("PUT", _UPLOADS, "upload.put", uploads.put),
        _rule("DELETE", _UPLOADS, "upload.cancel", uploads.cancel),
        _rule("PATCH", _OBJECT, "objects.patch", objects.patch, partial.OBJECT),
        _rule("DELETE", _OBJECT, "objects.delete", objects.delete),
        _rule("GET", _OBJECTS, "objects.list", objects.list_, partial.OBJECTS),
        _rule("POST", f"{_OBJECT}/compose", "objects.compose", copies.compose, partial.OBJECT),
        _rule("POST", f"{_OBJECT}{_TO}", "objects.rewrite", copies.rewrite, partial.REWRITE),
        _rule("GET", _BUCKET, "buckets.get", objects.get_bucket, partial.BUCKET),
        _rule(
            "GET",
            f"{_BUCKET}/iam/testPermissions",
            "buckets.testIamPermissions",
            objects.test_permissions,
            partial.PERMISSIONS,
        ),
        _rule("POST", "/token", "token", oauth.token),
        _rule("POST", "/sts/token", "sts.token", oauth.exchange),
        _rule("POST", _IMPERSONATION, "iam.generateAccessToken", oauth.impersonate),
        Rule("/_local/<what>", endpoint=Operation(_ADMIN, admin.serve)),
    ],
    converters={"default": _Segment},
    merge_slashes=False,
).bind("")


def handle(service: Service, request: Request) -> Response:
    """Serve a request and log it. An error becomes a response, and a bug a 500."""
    status: int | None = None
    try:
        response = _respond(service, request)
        if not (request.fault and request.fault.lose_response):
            status = response.status_code
        return response
    finally:
        if not request.path.startswith("/_local/"):
            service.record(request, status)


def _respond(service: Service, request: Request) -> Response:
    try:
        return _dispatch(service, request)
    except ApiError as error:
        return error_response(error)
    except ConnectionCutError:
        raise
    except Exception:  # noqa: BLE001 - without a response the client would wait
        traceback.print_exc(file=sys.stderr)
        return error_response(ApiError(500, "internalError", "Internal error, see stderr."))


def _dispatch(service: Service, request: Request) -> Response:
    try:
        operation, arguments = _ROUTES.match(request.path, request.method)
    except HTTPException as error:
        raise not_found(f"No such route: {request.method} {request.path}") from error
    request.operation = operation.name
    if _needs_token(request):
        token = service.keyring.authenticate(request.headers.get("Authorization"))
        scopes.check(token.scopes, operation.accepted_scopes(request.method))
    if operation.schema:
        request.selection = partial.parse(request.query.get("fields"), operation.schema)
    if operation.name != _ADMIN and not operation.name.startswith("upload."):
        bucket, name = arguments.get("bucket"), arguments.get("name")
        service.begin(request, operation.name, bucket=bucket, name=name)
    response: Response = operation.serve(service, request, **arguments)
    return response


def _needs_token(request: Request) -> bool:
    """Say whether to check for a token: not where the secret address of a session is enough."""
    if "upload_id" in request.query and "Authorization" not in request.headers:
        return False
    return "/storage/v1/" in request.path
