"""/_local: what a test, or a person with curl, does to the server itself."""

from tools.local.gcs import scopes
from tools.local.gcs.errors import not_found
from tools.local.gcs.exchange import Request, Response, json_response
from tools.local.gcs.faults import Fault
from tools.local.gcs.keyring import DEFAULT_EMAIL
from tools.local.gcs.oauth import external_account
from tools.local.gcs.service import Service
from tools.local.gcs.sessions import Sessions


def create_key(service: Service, request: Request) -> Response:
    """Serve POST keys: a service account key, for `{"email": …}` or a default account."""
    email = str(request.json().get("email") or DEFAULT_EMAIL)
    return json_response(service.keyring.create_key(request.base_url, email))


def revoke_key(service: Service, request: Request, key_id: str) -> Response:  # noqa: ARG001
    """Serve DELETE keys/…: no more grants, and the key's tokens are dead."""
    if not service.keyring.revoke_key(key_id):
        raise not_found("No such key.")
    return Response(status=204)


def create_token(service: Service, request: Request) -> Response:
    """Serve POST tokens: an access token without any ceremony, for curl; `{"scope": …}` or all."""
    granted = scopes.split(str(request.json().get("scope") or scopes.FULL_CONTROL))
    return json_response({"access_token": service.keyring.issue(DEFAULT_EMAIL, granted).value})


def get_external_account(service: Service, request: Request) -> Response:  # noqa: ARG001
    """Serve GET external-account: keyless credentials, with `?impersonate=1` impersonating."""
    impersonated = DEFAULT_EMAIL if request.query.get("impersonate") else None
    return json_response(external_account(request.base_url, impersonated))


def add_fault(service: Service, request: Request) -> Response:
    """Serve POST faults."""
    service.faults.add(Fault.from_json(request.json()))
    return Response(status=204)


def clear_faults(service: Service, request: Request) -> Response:  # noqa: ARG001
    """Serve DELETE faults."""
    service.faults.clear()
    return Response(status=204)


def requests(service: Service, request: Request) -> Response:  # noqa: ARG001
    """Serve GET requests."""
    return json_response({"requests": service.journal.entries()})


def clear_requests(service: Service, request: Request) -> Response:  # noqa: ARG001
    """Serve DELETE requests."""
    service.journal.clear()
    return Response(status=204)


def sessions(service: Service, request: Request) -> Response:  # noqa: ARG001
    """Serve GET sessions: the resumable uploads that nobody ended."""
    return json_response({"sessions": open_sessions(service.sessions)})


def open_sessions(sessions_: Sessions) -> list[dict[str, str | int]]:
    """Return the open sessions as JSON values."""
    return [
        {
            "id": session.id,
            "bucket": session.intent.bucket,
            "name": session.intent.name,
            "persisted": session.persisted,
        }
        for session in sessions_.open_ones()
    ]
