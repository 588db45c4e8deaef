"""The network as `requests` sees it, without one: what is sent is recorded, answers are set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests


@dataclass(frozen=True)
class Sent:
    """A request as `requests` sends it."""

    line: str
    """Method, path and query."""
    timeout: float | tuple[float, float] | None
    headers: dict[str, str]
    body: bytes


class Network:
    """Stands where `requests` sends. It records each request, and its answers are set."""

    def __init__(self) -> None:
        self.answers: list[requests.Response | Exception] = []
        self.sent: list[Sent] = []

    def send(
        self,
        request: requests.PreparedRequest,
        timeout: float | tuple[float, float] | None,
        **_: object,
    ) -> requests.Response:
        body: Any = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        data = body if isinstance(body, bytes) else b"".join(map(bytes, body))
        headers = {name.lower(): value for name, value in request.headers.items()}
        target = str(request.url).removeprefix("https://storage.googleapis.com")
        line = f"{request.method} {target.removesuffix('&prettyPrint=false')}"
        self.sent.append(Sent(line, timeout, headers, data))
        found = self.answers.pop(0) if self.answers else broken()
        if isinstance(found, Exception):
            raise found
        found.request = request
        return found


def broken() -> Exception:
    return requests.ConnectionError("broken")


def answer(
    status: int, headers: Mapping[str, str] | None = None, **fields: object
) -> requests.Response:
    """Build a response of GCS with these fields."""
    made = requests.Response()
    made.status_code = status
    made.headers.update(headers or {})
    made._content = json.dumps(fields).encode()  # noqa: SLF001 - there is no other way
    return made
