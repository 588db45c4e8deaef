"""An HTTP API of API Gateway (payload format 2.0) in front of the function, on a local port."""

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tools.local.notifications import ACCOUNT, Json
from tools.local.runtime import FunctionError

ROUTE = ("POST", "/v1/replicate")
API_ID = "local"
TEXT_TYPES = ("text/", "application/json", "application/javascript", "application/xml")


class ApiGateway:
    """Listens on a free port and turns requests into invocations. `close` it."""

    def __init__(self, invoke: Callable[[object], Any]) -> None:
        self._server = _Server(invoke)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def close(self) -> None:
        """Answer what was asked, then stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def __init__(self, invoke: Callable[[object], Any]) -> None:
        self.invoke = invoke
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = urlsplit(self.path).path
        if (self.command, path) == ROUTE:
            self._answer(**_as_response(self._invoke(body)))
        else:
            self._answer(HTTPStatus.NOT_FOUND, _message("Not Found"))

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Say nothing: the function logs its requests."""

    def _invoke(self, body: bytes) -> Any:  # noqa: ANN401 - JSON
        event = _request_event(self.command, self.path, self.headers, body, self.client_address[0])
        try:
            return self.server.invoke(event)
        except FunctionError:  # it is in the function's log; the caller learns no more than on AWS
            failure = HTTPStatus.INTERNAL_SERVER_ERROR
            return {"statusCode": failure, "body": _message("Internal Server Error")}

    def _answer(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        payload = body.encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def _request_event(method: str, target: str, headers: Message, body: bytes, ip: str) -> Json:
    """What a function gets from an HTTP API. Source: docs.aws.amazon.com, payload format 2.0."""
    url = urlsplit(target)
    names = {name.lower() for name in headers}
    is_text = (headers.get("content-type") or "").lower().startswith(TEXT_TYPES)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    host = headers.get("host", "")
    return {
        "version": "2.0",
        "routeKey": " ".join(ROUTE),
        "rawPath": url.path,
        "rawQueryString": url.query,
        "headers": {name: ",".join(headers.get_all(name) or []) for name in sorted(names)},
        **({"queryStringParameters": query} if query else {}),
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": host,
            "domainPrefix": API_ID,
            "http": {
                "method": method,
                "path": url.path,
                "protocol": "HTTP/1.1",
                "sourceIp": ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": " ".join(ROUTE),
            "stage": "$default",
            "time": datetime.now(UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(time.time() * 1000),
        },
        **({"body": _text(body) if is_text else base64.b64encode(body).decode()} if body else {}),
        "isBase64Encoded": bool(body) and not is_text,
    }


def _text(body: bytes) -> str:
    """What a client calls text need not be any."""
    return body.decode(errors="replace")


def _as_response(result: Any) -> Json:  # noqa: ANN401 - JSON
    """Read a function's result: a response, or a value that is the body of one."""
    if isinstance(result, dict) and "statusCode" in result:
        return {
            "status": int(result["statusCode"]),
            "body": result.get("body") or "",
            "headers": result.get("headers"),
        }
    return {"status": HTTPStatus.OK, "body": json.dumps(result)}


def _message(text: str) -> str:
    return json.dumps({"message": text})
