"""Lambda's Invoke API on a local port. moto's state machines call it; moto itself needs Docker."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from werkzeug import Request, Response

from tools.local.runtime import FunctionError
from tools.local.web_server import WebServer

START, END = "/2015-03-31/functions/", "/invocations"


class LambdaApi(WebServer):
    """Invokes the functions that it serves, by name. `close` it."""

    def __init__(self) -> None:
        self._functions: dict[str, Callable[[object], Any]] = {}
        super().__init__(self._respond)

    @contextmanager
    def serving(self, name: str, invoke: Callable[[object], Any]) -> Iterator[None]:
        """Serve a function within the block."""
        self._functions[name] = invoke
        try:
            yield
        finally:
            del self._functions[name]

    def _respond(self, request: Request) -> Response:
        if not (request.path.startswith(START) and request.path.endswith(END)):
            return _refusal(HTTPStatus.NOT_IMPLEMENTED, "NotImplemented", request.path)
        name = request.path.removeprefix(START).removesuffix(END).rpartition(":")[2]
        invoke = self._functions.get(name)
        if invoke is None:
            return _refusal(HTTPStatus.NOT_FOUND, "ResourceNotFoundException", name)
        try:
            return Response(json.dumps(invoke(request.get_json(force=True))))
        except FunctionError as error:
            body = {"errorType": error.error_type, "errorMessage": error.message}
            return Response(json.dumps(body), headers={"X-Amz-Function-Error": "Unhandled"})
        except CancelledError:  # the function's service was closed
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "ServiceException", name)


def _refusal(status: HTTPStatus, error_type: str, message: str) -> Response:
    return Response(json.dumps({"message": message}), status, {"x-amzn-errortype": error_type})
