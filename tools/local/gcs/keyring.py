"""Service account keys and access tokens: which exist, and which are still valid."""

import functools
import itertools
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError

from tools.local.gcs import scopes
from tools.local.gcs.errors import ApiError, OAuthError

PROJECT = "local-project"
DEFAULT_EMAIL = f"replicator@{PROJECT}.iam.gserviceaccount.com"

_GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_MAX_ASSERTION_SECONDS = 3600
_CLOCK_SKEW_SECONDS = 10
_PAIRS = itertools.cycle(range(4))
"""All keys of a process share so many key pairs: one takes 50 ms of CPU, and tests create many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    token_uri: str
    public_pem: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token. `expires` is in seconds since the epoch."""

    value: str
    principal: str
    scopes: frozenset[str]
    expires: float
    key_id: str | None = None


class Keyring:
    """Every registered key and every live token."""

    def __init__(self, token_seconds: float) -> None:
        self.token_seconds = token_seconds
        self._lock = threading.Lock()
        self._keys: dict[str, _Key] = {}
        self._tokens: dict[str, Token] = {}

    def create_key(self, base_url: str) -> dict[str, str]:
        """Register a new key and return it in the format of Google's key files."""
        private = _pair(next(_PAIRS))
        public_pem = private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        private_pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key_id, token_uri = secrets.token_hex(20), f"{base_url}/token"
        with self._lock:
            self._keys[key_id] = _Key(token_uri=token_uri, public_pem=public_pem)
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": key_id,
            "private_key": private_pem.decode(),
            "client_email": DEFAULT_EMAIL,
            "client_id": "100000000000000000000",
            "auth_uri": f"{base_url}/auth",
            "token_uri": token_uri,
            "auth_provider_x509_cert_url": f"{base_url}/oauth2/v1/certs",
            "client_x509_cert_url": f"{base_url}/robot/v1/metadata/x509/{quote(DEFAULT_EMAIL)}",
            "universe_domain": "googleapis.com",
        }

    def revoke_key(self, key_id: str) -> bool:
        """Forget a key and its tokens; False where there is no such key."""
        with self._lock:
            for token in [token for token in self._tokens.values() if token.key_id == key_id]:
                del self._tokens[token.value]
            return self._keys.pop(key_id, None) is not None

    def issue(self, principal: str, granted: frozenset[str], key_id: str | None = None) -> Token:
        """Issue a token with the scopes that were asked for."""
        token = Token(
            value=f"ya29.local-{secrets.token_urlsafe(32)}",
            principal=principal,
            scopes=granted,
            expires=time.time() + self.token_seconds,
            key_id=key_id,
        )
        with self._lock:
            self._tokens[token.value] = token
        return token

    def grant(self, assertion: str, base_url: str) -> Token:
        """Issue a token for a signed JWT, or refuse it as Google does."""
        try:
            key_id = str(jwt.decode_header(assertion).get("kid"))
        except (GoogleAuthError, ValueError) as error:
            raise _invalid_grant("cannot be decoded.") from error
        with self._lock:
            key = self._keys.get(key_id)
        if key is None:
            raise _invalid_grant("unknown key.")
        claims = _verified(assertion, key, base_url)
        granted = scopes.split(str(claims.get("scope", "")))
        if granted.isdisjoint(scopes.READ):
            raise OAuthError(400, "invalid_scope", "No scope that gives access to Cloud Storage.")
        return self.issue(DEFAULT_EMAIL, granted, key_id)

    def authenticate(self, header: str | None) -> Token:
        """Return the token in an Authorization header, or refuse with 401."""
        scheme, _, value = (header or "").partition(" ")
        if not header:
            raise _unauthorized("required", "Anonymous caller: an access token is required.")
        with self._lock:
            token = self._tokens.get(value.strip()) if scheme.lower() == "bearer" else None
        if token is None or token.expires <= time.time():
            raise _unauthorized("authError", "Invalid Credentials")
        return token


@functools.cache
def _pair(_number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _verified(assertion: str, key: _Key, base_url: str) -> Mapping[str, Any]:
    """Return the claims of a JWT whose signature, audience, times and issuer are right.

    google-auth names Google's endpoint whatever the key says, and a container may know this server
    by another name than the client that fetched the key.
    """
    audience = [key.token_uri, f"{base_url}/token", _GOOGLE_TOKEN_URI]
    try:
        claims: dict[str, Any] = jwt.decode(
            assertion, key.public_pem, audience=audience, clock_skew_in_seconds=_CLOCK_SKEW_SECONDS
        )
    except (GoogleAuthError, ValueError) as error:
        raise _invalid_grant(str(error)) from error
    if claims.get("iss") != DEFAULT_EMAIL:
        raise _invalid_grant("iss is not the key's account.")
    if claims["exp"] - claims["iat"] > _MAX_ASSERTION_SECONDS:
        raise _invalid_grant("it must live one hour at most.")
    return claims


def _invalid_grant(why: str) -> OAuthError:
    return OAuthError(400, "invalid_grant", f"Invalid JWT: {why}")


def _unauthorized(reason: str, message: str) -> ApiError:
    challenge = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
    return ApiError(401, reason, message, {"WWW-Authenticate": challenge})
