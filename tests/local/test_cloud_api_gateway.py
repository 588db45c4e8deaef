"""The local API Gateway hands over what API Gateway would, and answers as it does."""

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from tools.local.api_gateway import ApiGateway
from tools.local.runtime import FunctionError

JSON = {"Content-Type": "application/json"}


class Function:
    """Keeps its last event and answers what it is told to."""

    def __init__(self) -> None:
        self.event: dict[str, Any] = {}
        self.answer: Callable[[], Any] = lambda: {"statusCode": 204}

    def invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        assert isinstance(event, dict)
        self.event = event
        return self.answer()


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
    _ask(gateway, "POST", "/v1/replicate?dry=1", '{"a": "ü"}'.encode(), {**JSON, "X-Two": "2"})
    event = function.event
    assert (event["version"], event["routeKey"]) == ("2.0", "POST /v1/replicate")
    assert (event["rawPath"], event["rawQueryString"]) == ("/v1/replicate", "dry=1")
    assert event["queryStringParameters"] == {"dry": "1"}
    assert event["headers"]["x-two"] == "2"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert (event["body"], event["isBase64Encoded"]) == ('{"a": "ü"}', False)


def test_a_body_that_is_no_text_arrives_in_base64(gateway: ApiGateway, function: Function) -> None:
    _ask(gateway, "POST", "/v1/replicate", b"\xff", {"Content-Type": "application/x-thing"})
    assert function.event["isBase64Encoded"] is True
    assert base64.b64decode(function.event["body"]) == b"\xff"


def test_a_text_that_is_none_arrives_all_the_same(gateway: ApiGateway, function: Function) -> None:
    assert _ask(gateway, "POST", "/v1/replicate", b'{"\xff"}', JSON)[0] == 204
    assert function.event["body"] == '{"\ufffd"}'


def test_the_functions_response_is_the_answer(gateway: ApiGateway, function: Function) -> None:
    function.answer = lambda: {"statusCode": 429, "headers": {"retry-after": "7"}, "body": '"x"'}
    status, headers, body = _ask(gateway, "POST", "/v1/replicate", b"{}", JSON)
    assert (status, headers["retry-after"], body) == (429, "7", "x")


def test_a_function_that_fails_is_500_and_says_no_more(
    gateway: ApiGateway, function: Function
) -> None:
    def fail() -> None:
        raise FunctionError("ValueError", "a secret")

    function.answer = fail
    status, _, body = _ask(gateway, "POST", "/v1/replicate", b"{}", JSON)
    assert (status, body) == (500, {"message": "Internal Server Error"})


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/replicate"), ("POST", "/v2")])
def test_what_is_not_routed_never_reaches_the_function(
    gateway: ApiGateway, function: Function, method: str, path: str
) -> None:
    status, _, body = _ask(gateway, method, path, b"", {})
    assert (status, body, function.event) == (404, {"message": "Not Found"}, {})


def _ask(
    gateway: ApiGateway, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, http.client.HTTPMessage, Any]:
    address = urlsplit(gateway.url).netloc
    with closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, response.headers, json.loads(text) if text else None
