"""The token endpoints: signed JWTs, AWS identities, and impersonation of a service account."""

import json
import re
import time
from typing import Any
from urllib.parse import unquote, urlsplit

from tools.local.gcs import scopes
from tools.local.gcs.errors import OAuthError, invalid
from tools.local.gcs.keyring import Keyring
from tools.local.gcs.messages import Request, Response, json_response
from tools.local.gcs.service import Service

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
_AWS_TOKEN_TYPE = "urn:ietf:params:aws:token-type:aws4_request"  # noqa: S105 - a name
_ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name

_SIGNED_BY = re.compile(r"AWS4-HMAC-SHA256 Credential=(\w+)/.*Signature=[0-9a-f]{64}")

AUDIENCE = (
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/lambda"
)


def token(service: Service, request: Request) -> Response:
    """Serve POST /token: a JWT signed with a service account key."""
    form = request.form()
    if form.get("grant_type") != _JWT_BEARER:
        raise OAuthError(400, "unsupported_grant_type", "Invalid grant_type.")
    issued = service.keyring.grant(form.get("assertion", ""), request.server_url)
    return json_response(_bearer(service.keyring, issued.value))


def exchange(service: Service, request: Request) -> Response:
    """Serve POST /sts/token: RFC 8693, as `google.auth.aws` speaks it."""
    form = request.form()
    expected = {
        "grant_type": _TOKEN_EXCHANGE,
        "subject_token_type": _AWS_TOKEN_TYPE,
        "requested_token_type": _ACCESS_TOKEN_TYPE,
        "audience": AUDIENCE,
    }
    for key, value in expected.items():
        if form.get(key) != value:
            raise OAuthError(400, "invalid_request", f"Invalid {key}: {form.get(key)!r}")
    granted = scopes.split(form.get("scope", ""))
    if not granted:
        raise OAuthError(400, "invalid_request", "Missing required parameter: scope")
    access_key_id = _aws_access_key_id(form.get("subject_token", ""))
    issued = service.keyring.issue(f"principal:{AUDIENCE}/subject/{access_key_id}", granted)
    payload = _bearer(service.keyring, issued.value)
    return json_response({**payload, "issued_token_type": _ACCESS_TOKEN_TYPE})


def impersonate(service: Service, request: Request, email: str) -> Response:
    """Serve POST …:generateAccessToken, for any caller with a token."""
    caller = service.keyring.authenticate(request.headers.get("Authorization"))
    scopes.check(caller.scopes, scopes.IMPERSONATE)
    granted = request.json().get("scope")
    if not granted or not isinstance(granted, list):
        raise invalid("Invalid scope: a list of scopes is expected.")
    issued = service.keyring.issue(email, frozenset(map(str, granted)))
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(issued.expires))
    return json_response({"accessToken": issued.value, "expireTime": expires})


def external_account(base_url: str, impersonated: str | None = None) -> dict[str, Any]:
    """Return a workload identity configuration for AWS that points at this server."""
    configuration: dict[str, Any] = {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": _AWS_TOKEN_TYPE,
        "token_url": f"{base_url}/sts/token",
        "universe_domain": "googleapis.com",
        "credential_source": {
            "environment_id": "aws1",
            "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
            "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
            "regional_cred_verification_url": "https://sts.{region}.amazonaws.com"
            "?Action=GetCallerIdentity&Version=2011-06-15",
        },
    }
    if impersonated:
        configuration["service_account_impersonation_url"] = (
            f"{base_url}/v1/projects/-/serviceAccounts/{impersonated}:generateAccessToken"
        )
    return configuration


def _bearer(keyring: Keyring, value: str) -> dict[str, Any]:
    seconds = int(keyring.token_seconds)
    return {"access_token": value, "expires_in": seconds, "token_type": "Bearer"}


def _aws_access_key_id(subject_token: str) -> str:
    """Return who signed a GetCallerIdentity request; only AWS could check the signature."""
    try:
        signed = json.loads(unquote(subject_token, errors="strict"))
        headers = {item["key"].lower(): item["value"] for item in signed["headers"]}
        is_caller_identity = (
            signed["method"] == "POST"
            and "Action=GetCallerIdentity" in urlsplit(signed["url"]).query
            and headers["x-goog-cloud-target-resource"] == AUDIENCE
        )
        match = is_caller_identity and _SIGNED_BY.match(headers["authorization"])
    except (KeyError, TypeError, ValueError, AttributeError):
        match = None
    if not match:
        message = "Unable to verify AWS SigV4 for GetCallerIdentity."
        raise OAuthError(400, "invalid_grant", message)
    return match[1]
