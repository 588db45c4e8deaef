"""/_local: what a test, or a person with curl, does to the server itself."""

from collections.abc import Callable
from typing import Any

from tools.local.gcs import scopes
from tools.local.gcs.errors import not_found
from tools.local.gcs.faults import Fault
from tools.local.gcs.keyring import DEFAULT_EMAIL
from tools.local.gcs.messages import Request, Response, json_response
from tools.local.gcs.service import Service


def serve(service: Service, request: Request, what: str) -> Response:
    """Serve /_local/…, without a token."""
    action = _ACTIONS.get(f"{request.method} {what}")
    if action is None:
        raise not_found(f"No such action: {request.method} {what}")
    return json_response(action(service, request) or {})


def _create_token(service: Service, _: Request) -> dict[str, Any]:
    """Issue an access token for all scopes, without a key."""
    token = service.keyring.issue(DEFAULT_EMAIL, scopes.split(scopes.FULL_CONTROL))
    return {"access_token": token.value}


_ACTIONS: dict[str, Callable[[Service, Request], dict[str, Any] | None]] = {
    "POST keys": lambda service, request: service.keyring.create_key(request.server_url),
    "POST tokens": _create_token,
    "POST faults": lambda service, request: service.faults.add(Fault.from_json(request.json())),
    "DELETE faults": lambda service, _: service.faults.clear(),
    "GET requests": lambda service, _: {"requests": list(service.log)},
    "GET sessions": lambda service, _: {"sessions": service.open_sessions()},
}
