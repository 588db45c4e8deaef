"""An HTTP API of API Gateway (payload format 2.0) in front of the function, on a local port."""

import base64
import json
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from werkzeug import Request, Response

from tools.local.notifications import SAMPLES, Json
from tools.local.runtime import FunctionError
from tools.local.web_server import WebServer

SAMPLE: Json = json.loads((SAMPLES / "api-v2.json").read_text())
ROUTE = SAMPLE["routeKey"]
TEXT_TYPES = ("text/", "application/json", "application/javascript", "application/xml")


class ApiGateway(WebServer):
    """Listens on a free port and turns requests into invocations. `close` it."""

    def __init__(self, invoke: Callable[[object], Any]) -> None:
        self._invoke = invoke
        super().__init__(self._respond)

    def _respond(self, request: Request) -> Response:
        if f"{request.method} {request.path}" != ROUTE:
            return _message(HTTPStatus.NOT_FOUND, "Not Found")
        try:
            return _response(self._invoke(_event(request)))
        except FunctionError:  # as on AWS: the error is in the function's log only
            return _message(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")


def _event(request: Request) -> Json:
    """Return the function's event: the sample's fields, with those that a client can change."""
    body = request.get_data()
    is_text = request.mimetype.startswith(TEXT_TYPES)
    text = body.decode(errors="replace") if is_text else base64.b64encode(body).decode()
    query = {name: ",".join(values) for name, values in request.args.lists()}
    client = {
        "method": request.method,
        "path": request.path,
        "protocol": "HTTP/1.1",
        "sourceIp": request.remote_addr,
        "userAgent": request.headers.get("user-agent", ""),
    }
    return {
        **{name: value for name, value in SAMPLE.items() if name != "body"},
        "rawPath": request.path,
        "rawQueryString": request.query_string.decode(),
        "headers": {name.lower(): value for name, value in request.headers.items()},
        **({"queryStringParameters": query} if query else {}),
        "requestContext": {
            **SAMPLE["requestContext"],
            "domainName": request.host,
            "http": client,
            "requestId": str(uuid.uuid4()),
            "timeEpoch": int(time.time() * 1000),
        },
        **({"body": text} if body else {}),
        "isBase64Encoded": bool(body) and not is_text,
    }


def _response(result: Any) -> Response:  # noqa: ANN401 - JSON
    """Read the function's result: a response, or a value that is the body of one."""
    if not isinstance(result, dict) or "statusCode" not in result:
        result = {"statusCode": HTTPStatus.OK, "body": json.dumps(result)}
    headers = {"content-type": "application/json", **(result.get("headers") or {})}
    return Response(result.get("body") or "", int(result["statusCode"]), headers)


def _message(status: HTTPStatus, text: str) -> Response:
    return Response(json.dumps({"message": text}), status, content_type="application/json")
