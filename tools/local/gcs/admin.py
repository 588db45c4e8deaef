"""/_local: what a test, or a person with curl, does to the server itself."""

from tools.local.gcs import scopes
from tools.local.gcs.errors import not_found
from tools.local.gcs.faults import Fault
from tools.local.gcs.keyring import DEFAULT_EMAIL
from tools.local.gcs.messages import Request, Response, empty_response, json_response
from tools.local.gcs.oauth import external_account
from tools.local.gcs.service import Service


def create_key(service: Service, request: Request) -> Response:
    """Serve POST keys: a service account key, for `{"email": …}` or a default account."""
    email = str(request.json().get("email") or DEFAULT_EMAIL)
    return json_response(service.keyring.create_key(request.server_url, email))


def revoke_key(service: Service, _: Request, key_id: str) -> Response:
    """Serve DELETE keys/…: the key gets no more tokens, and its tokens are invalid."""
    if not service.keyring.revoke_key(key_id):
        raise not_found("No such key.")
    return empty_response()


def create_token(service: Service, request: Request) -> Response:
    """Serve POST tokens: an access token without a key, for `{"scope": …}` or all scopes."""
    granted = scopes.split(str(request.json().get("scope") or scopes.FULL_CONTROL))
    return json_response({"access_token": service.keyring.issue(DEFAULT_EMAIL, granted).value})


def get_external_account(_: Service, request: Request) -> Response:
    """Serve GET external-account: keyless credentials, impersonating with `?impersonate=1`."""
    impersonated = DEFAULT_EMAIL if request.query.get("impersonate") else None
    return json_response(external_account(request.server_url, impersonated))


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


def clear_requests(service: Service, _: Request) -> Response:
    """Serve DELETE requests."""
    service.log.clear()
    return empty_response()


def sessions(service: Service, _: Request) -> Response:
    """Serve GET sessions: the resumable uploads that are still open."""
    return json_response({"sessions": service.open_sessions()})


def soft_deleted(service: Service, request: Request) -> Response:
    """Serve GET soft-deleted: the generations that soft delete would hold, and charge for."""
    items = [stored.resource(request.server_url) for stored in list(service.store.soft_deleted)]
    return json_response({"items": items})
