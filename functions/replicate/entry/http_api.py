"""`POST /v1/replicate` through API Gateway: HTTP APIs (payload 2.0) and REST APIs (payload 1.0)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar

from aws_lambda_powertools.utilities.data_classes import (
    APIGatewayProxyEvent,
    APIGatewayProxyEventV2,
)

from replicate import report
from replicate.entry.invocation import Change, Context, Invocation, Message, Results
from replicate.entry.reading import is_bucket, is_unicode, reading
from replicate.errors import (
    InvalidRequestError,
    MethodNotAllowedError,
    ObjectNotFoundError,
    ReplicationError,
    RouteNotFoundError,
    UnsupportedMediaTypeError,
)
from replicate.protocol.evidence import REQUEST
from replicate.protocol.model import Result, SourceRef, Status

ROUTE = "/v1/replicate"
MAX_BODY_CHARACTERS = 16 * 1024
"""Room for the longest key, 1,024 bytes, in any JSON spelling."""

RETRY_AFTER_S = 5.0
"""`Retry-After` of a response when the store did not say how long to wait."""

_STATUS = {
    Status.REPLICATED: HTTPStatus.CREATED,
    Status.SKIPPED: HTTPStatus.OK,
    Status.IN_PROGRESS: HTTPStatus.ACCEPTED,
}

_Request = APIGatewayProxyEvent | APIGatewayProxyEventV2


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpInvocation(Invocation):
    """A request that names one object. Its only message has one change."""

    request_id: str

    reports_failures: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise ValueError for any other number of changes."""
        (_,) = self.changes

    def respond(self, results: Results) -> dict[str, Any]:
        """Return the response: 201, 200 (skipped), 202 (in progress), or the error's status."""
        (change,) = self.changes
        result = results[change.ref]
        if isinstance(result, ReplicationError):
            return _error_response(result, self.request_id)
        if result.source is None:
            return _error_response(_object_not_found(result), self.request_id)
        return _response(_STATUS[result.reason.status], report.result(result))


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidHttpInvocation(Invocation):
    """A request that names no object."""

    messages: tuple[()] = ()
    error: ReplicationError
    request_id: str

    reports_failures: ClassVar[bool] = True

    def respond(self, results: Results) -> dict[str, Any]:  # noqa: ARG002 - there are none
        """Return the error's status."""
        return _error_response(self.error, self.request_id)


def parse_invocation(
    event: Mapping[str, Any], _now: datetime, context: Context
) -> HttpInvocation | InvalidHttpInvocation:
    """Read a request. Raise InvalidEventError if it is not of the shape that API Gateway sends."""
    request_id = context.aws_request_id
    with reading("an API Gateway request"):
        is_v2 = event.get("version") == "2.0"
        request = (APIGatewayProxyEventV2 if is_v2 else APIGatewayProxyEvent)(dict(event))
        try:
            change = Change(_requested(request), evidence=REQUEST)
        except ReplicationError as error:
            return InvalidHttpInvocation(error=error, request_id=request_id)
        return HttpInvocation(messages=(Message(changes=(change,)),), request_id=request_id)


def _requested(request: _Request) -> SourceRef:
    """Return the object that a request names. Raise ReplicationError."""
    if request.path.rstrip("/") != ROUTE:
        raise RouteNotFoundError(f"There is no {request.path}. Use POST {ROUTE}.")
    if request.http_method != "POST":
        raise MethodNotAllowedError(f"{request.http_method} is not supported. Use POST {ROUTE}.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaTypeError(
            "The body's type is not JSON. Send the header Content-Type: application/json."
        )
    return _ref(_json(_text(request)))


def _text(request: _Request) -> str:
    try:
        body = request.decoded_body
    except ValueError:
        raise InvalidRequestError("The body is not text in UTF-8.") from None
    if not body or len(body) > MAX_BODY_CHARACTERS:
        raise InvalidRequestError(
            f"The body is {'too long' if body else 'empty'}."
            ' Send {"s3_bucket": "…", "s3_key": "…"}.'
        )
    return body


def _json(text: str) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise InvalidRequestError("The body is not a JSON object.")
    return body


def _ref(body: Mapping[str, Any]) -> SourceRef:
    for field in ("s3_bucket", "s3_key"):
        if not isinstance(body.get(field), str) or not body[field]:
            raise InvalidRequestError(f"The field {field} is missing, empty or not a string.")
        if not is_unicode(body[field]):
            raise InvalidRequestError(f"The field {field} is not valid Unicode.")
    if not is_bucket(body["s3_bucket"]):
        raise InvalidRequestError("The field s3_bucket is not a valid name of an S3 bucket.")
    return SourceRef(body["s3_bucket"], body["s3_key"])


def _error_response(error: ReplicationError, request_id: str) -> dict[str, Any]:
    headers = {}
    if error.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["Retry-After"] = str(round(error.retry_after_s or RETRY_AFTER_S))
    if error.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "POST"
    body = {"error": report.error(error), "request_id": request_id}
    return _response(error.status, body, headers)


def _object_not_found(result: Result) -> ObjectNotFoundError:
    return ObjectNotFoundError(f"There is no {result.ref.uri}. Check the bucket and the key.")


def _response(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    return {
        "statusCode": int(status),
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }
