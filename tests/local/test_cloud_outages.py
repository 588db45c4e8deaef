"""The gate between the function and a service."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import requests
from werkzeug import Request, Response

from tools.local.outages import Gate
from tools.local.web_server import WebServer


@pytest.fixture
def echo() -> Iterator[str]:
    """Serve the body of each request."""
    with closing(WebServer(lambda request: Response(_body(request)))) as server:
        yield server.url


def _body(request: Request) -> bytes:
    return request.get_data()


def test_shut_gate_refuses_in_turn_what_it_is_told_and_an_open_one_passes_all(echo: str) -> None:
    body = bytes(range(256)) * 4096
    with closing(Gate(echo, ["\r\nRetry-After: 9", None])) as gate, requests.Session() as session:

        def post(path: str) -> requests.Response:
            return session.post(gate.url + path, data=body, timeout=10)

        assert post("/a").content == body
        gate.shut(lambda path: 503 if path == b"/a" else None)
        assert post("/b").content == body
        refused = post("/a")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "9")
        with pytest.raises(requests.ConnectionError):
            post("/a")
        assert gate.refused == 2
        gate.open()
        assert post("/a").content == body


def test_gate_ends_the_connections_that_are_open_when_it_shuts(echo: str) -> None:
    with closing(Gate(echo, [""])) as gate, requests.Session() as session:
        assert session.get(gate.url, timeout=10).ok
        gate.shut(lambda _: 503)
        assert session.get(gate.url, timeout=10).status_code == 503, "on a new connection"
