"""/_local: what a test, or a person with curl, does to the server itself."""

from tools.local.gcs import scopes
from tools.local.gcs.faults import Fault
from tools.local.gcs.keyring import DEFAULT_EMAIL
from tools.local.gcs.messages import Request, Response, empty_response, json_response
from tools.local.gcs.service import Service


def create_key(service: Service, request: Request) -> Response:
    """Serve POST keys: a service account key."""
    return json_response(service.keyring.create_key(request.server_url))


def create_token(service: Service, _: Request) -> Response:
    """Serve POST tokens: an access token for all scopes, without a key."""
    token = service.keyring.issue(DEFAULT_EMAIL, scopes.split(scopes.FULL_CONTROL))
    return json_response({"access_token": token.value})


def add_fault(service: Service, request: Request) -> Response:
    """Serve POST faults: the body has the fields of a `Fault`."""
    service.faults.add(Fault.from_json(request.json()))
    return empty_response()


def clear_faults(service: Service, _: Request) -> Response:
    """Serve DELETE faults."""
    service.faults.clear()
    return empty_response()


def requests(service: Service, _: Request) -> Response:
    """Serve GET requests: the request log."""
    return json_response({"requests": list(service.log)})


def sessions(service: Service, _: Request) -> Response:
    """Serve GET sessions: the resumable uploads that are still open."""
    return json_response({"sessions": service.open_sessions()})


def soft_deleted(service: Service, request: Request) -> Response:
    """Serve GET soft-deleted: the generations that soft delete would hold, and charge for."""
    items = [stored.resource(request.server_url) for stored in list(service.store.soft_deleted)]
    return json_response({"items": items})
