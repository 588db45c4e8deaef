"""The local API Gateway translates requests and responses as API Gateway does."""

import base64
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import requests

from tools.common import http
from tools.local.api_gateway import ApiGateway
from tools.local.runtime import FunctionError

JSON = {"Content-Type": "application/json"}


class Function:
    """Stores its last event and returns what a test sets."""

    def __init__(self) -> None:
        self.event: dict[str, Any] = {}
        self.respond: Callable[[], Any] = lambda: {"statusCode": 204}

    def invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        assert isinstance(event, dict)
        self.event = event
        return self.respond()


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def gateway(function: Function) -> Iterator[ApiGateway]:
    with closing(ApiGateway(function.invoke)) as running:
        yield running


def test_a_request_becomes_an_event_of_payload_format_2(
    gateway: ApiGateway, function: Function
) -> None:
    _send(gateway, "POST", "/v1/replicate?dry=1", '{"a": "ü"}'.encode(), {**JSON, "X-Two": "2"})
    event = function.event
    assert (event["version"], event["routeKey"]) == ("2.0", "POST /v1/replicate")
    assert (event["rawPath"], event["rawQueryString"]) == ("/v1/replicate", "dry=1")
    assert event["queryStringParameters"] == {"dry": "1"}
    assert event["headers"]["x-two"] == "2"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert (event["body"], event["isBase64Encoded"]) == ('{"a": "ü"}', False)


def test_a_binary_body_arrives_in_base64(gateway: ApiGateway, function: Function) -> None:
    _send(gateway, "POST", "/v1/replicate", b"\xff", {"Content-Type": "application/x-thing"})
    assert function.event["isBase64Encoded"] is True
    assert base64.b64decode(function.event["body"]) == b"\xff"


def test_a_malformed_text_arrives_with_replacement_characters(
    gateway: ApiGateway, function: Function
) -> None:
    assert _send(gateway, "POST", "/v1/replicate", b'{"\xff"}', JSON).status_code == 204
    assert function.event["body"] == '{"\ufffd"}'


def test_the_client_receives_the_functions_response(
    gateway: ApiGateway, function: Function
) -> None:
    function.respond = lambda: {"statusCode": 429, "headers": {"retry-after": "7"}, "body": '"x"'}
    response = _send(gateway, "POST", "/v1/replicate", b"{}", JSON)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json() == "x"


def test_a_function_error_is_500_without_details(gateway: ApiGateway, function: Function) -> None:
    def fail() -> None:
        raise FunctionError("ValueError", "a secret")

    function.respond = fail
    response = _send(gateway, "POST", "/v1/replicate", b"{}", JSON)
    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/replicate"), ("POST", "/v2")])
def test_another_route_is_404_and_does_not_invoke_the_function(
    gateway: ApiGateway, function: Function, method: str, path: str
) -> None:
    response = _send(gateway, method, path, b"", {})
    assert (response.status_code, response.json()) == (404, {"message": "Not Found"})
    assert function.event == {}


def _send(
    gateway: ApiGateway, method: str, path: str, body: bytes, headers: dict[str, str]
) -> requests.Response:
    return http.send(method, gateway.url + path, data=body, headers=headers)
