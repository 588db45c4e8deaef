"""HTTP requests to servers on this machine. The environment's proxies are not used."""

from collections.abc import Iterable, Mapping
from typing import Any

import requests

TIMEOUT_S = 60.0
"""Longest wait to connect, and longest silence of the server."""


def send(
    method: str,
    url: str,
    *,
    json: object = None,
    data: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    verify: bool | str = True,
) -> requests.Response:
    """Send one request on a connection of its own; return the response, read to its end.

    `verify` is the path of a file of certificate authorities. Raises requests.RequestException,
    which is an OSError, when no response arrives.
    """
    with requests.Session() as session:
        session.trust_env = False
        return session.request(
            method, url, json=json, data=data, headers=headers, timeout=timeout_s, verify=verify
        )


def call(
    method: str,
    url: str,
    json: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    verify: bool | str = True,
) -> Any:  # noqa: ANN401 - JSON
    """Send JSON; return the JSON of the response, None where it has no body.

    Raises requests.HTTPError with the response's text when its status is 400 or more.
    """
    response = send(method, url, json=json, headers=headers, timeout_s=timeout_s, verify=verify)
    if not response.ok:
        message = f"{method} {url}: {response.status_code} {response.text}"
        raise requests.HTTPError(message, response=response)
    return response.json() if response.content else None
