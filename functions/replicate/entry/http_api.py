"""`POST /v1/replicate` behind API Gateway: HTTP APIs (payload 2.0) and REST APIs (1.0).

Imported with the first request only: the event path has no need of a router.
"""

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools.event_handler import (
    APIGatewayHttpResolver,
    APIGatewayRestResolver,
    Response,
    content_types,
)
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from replicate.entry import report
from replicate.errors import (
    InvalidEventError,
    InvalidRequestError,
    MethodNotAllowedError,
    ReplicationError,
    RouteNotFoundError,
    SourceNotAllowedError,
    UnsupportedMediaTypeError,
)
from replicate.protocol.model import SourceRef, Status, is_unicode

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

ROUTE = "/v1/replicate"
MAX_BODY_CHARACTERS = 16 * 1024
RETRY_AFTER_S = 5.0
"""What a client is asked to wait when the stores did not say."""

_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Source: "General purpose bucket naming rules" in S3's user guide."""

Replicate = Callable[[SourceRef], dict[str, Any]]
"""Make one object equal and tell about it. Raises ReplicationError."""


class Api:
    """Answers requests, one at a time."""

    def __init__(self, source_buckets: frozenset[str]) -> None:
        self._source_buckets = source_buckets
        self._resolvers = {"1.0": APIGatewayRestResolver(), "2.0": APIGatewayHttpResolver()}
        for app in self._resolvers.values():
            app.post(ROUTE)(self._post)
            app.exception_handler(ReplicationError)(self._refuse)
            app.not_found(self._not_found)

    def answer(
        self, event: Mapping[str, Any], context: object, replicate: Replicate
    ) -> dict[str, Any]:
        """The proxy response to a proxy event of either version. Raises InvalidEventError."""
        self._replicate = replicate
        self._app = self._resolvers["2.0" if event.get("version") == "2.0" else "1.0"]
        try:
            return self._app.resolve(event, cast("LambdaContext", context))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InvalidEventError(
                f"This is no request as API Gateway makes them: {type(error).__name__} while"
                " reading it."
            ) from error

    def _post(self) -> Response[str]:
        told = self._replicate(self._requested())
        created = told["status"] != Status.SKIPPED
        return _json(HTTPStatus.CREATED if created else HTTPStatus.OK, told)

    def _requested(self) -> SourceRef:
        """The object that the request names. Raises ReplicationError."""
        event = self._app.current_event
        media_type = (event.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedMediaTypeError(
                "The body's type is not JSON: send the header Content-Type: application/json."
            )
        try:
            body = event.decoded_body
        except ValueError:
            raise InvalidRequestError("The body is not text in UTF-8.") from None
        ref = _ref(_parsed(body))
        if ref.bucket not in self._source_buckets:
            raise SourceNotAllowedError(
                f"The bucket {ref.bucket} is not one that this API replicates from: its operator"
                " lists them in SOURCE_BUCKETS."
            )
        return ref

    def _refuse(self, error: ReplicationError) -> Response[str]:
        request_id = self._app.lambda_context.aws_request_id
        headers = {}
        if error.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            headers["Retry-After"] = str(round(error.retry_after_s or RETRY_AFTER_S))
        if error.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "POST"
        body = {"error": report.error(error), "request_id": request_id}
        return _json(error.status, body, headers)

    def _not_found(self, _: NotFoundError) -> Response[str]:
        event = self._app.current_event
        if event.path == ROUTE:
            return self._refuse(
                MethodNotAllowedError(f"{event.http_method} is not possible: POST to {ROUTE}.")
            )
        return self._refuse(RouteNotFoundError(f"There is no {event.path}: POST to {ROUTE}."))


def _parsed(body: str | None) -> Mapping[str, Any]:
    if not body or len(body) > MAX_BODY_CHARACTERS:
        raise InvalidRequestError(
            f"The body is {'too long' if body else 'empty'}:"
            ' send {"s3_bucket": "…", "s3_key": "…"}.'
        )
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The body is not JSON: {error}.") from None
    if not isinstance(parsed, dict):
        raise InvalidRequestError("The body is not a JSON object.")
    return parsed


def _ref(body: Mapping[str, Any]) -> SourceRef:
    for field in ("s3_bucket", "s3_key"):
        if not isinstance(body.get(field), str) or not body[field]:
            raise InvalidRequestError(f"The field {field} is missing, empty or not a text.")
        if not is_unicode(body[field]):
            raise InvalidRequestError(f"The field {field} is not valid Unicode.")
    if not _BUCKET.fullmatch(body["s3_bucket"]):
        raise InvalidRequestError("The field s3_bucket is not a name that an S3 bucket can have.")
    return SourceRef(body["s3_bucket"], body["s3_key"])


def _json(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response[str]:
    return Response(
        status_code=int(status),
        content_type=content_types.APPLICATION_JSON,
        body=json.dumps(body),
        headers=dict(headers or {}),
    )
