"""Requests to GCS's JSON API: authorized, and their refusals in our own terms."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NoReturn

from replicate.connections import BrokenConnectionError, Connections, Response
from replicate.deadline import Deadline
from replicate.errors import (
    CredentialsError,
    DestinationBucketNotFoundError,
    DestinationChangedError,
    DestinationForbiddenError,
    DestinationRejectedError,
    DestinationUnavailableError,
    IntegrityError,
    ReplicationError,
    ThrottledError,
)
from replicate.google_credentials import GoogleTokens
from replicate.http1 import Buffer
from replicate.retry import retry_after

ENDPOINT = "https://storage.googleapis.com"

_RATE_LIMITS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})


class GcsClient:
    """Authorized requests, for the life of the execution environment. Safe across threads."""

    def __init__(self, tokens: GoogleTokens, endpoint: str | None = None) -> None:
        self._tokens = tokens
        self.connections = Connections(endpoint or ENDPOINT)

    def authorization(self, deadline: Deadline) -> dict[str, str]:
        """Raises CredentialsError, UnavailableError, OutOfTimeError."""
        return {"Authorization": f"Bearer {self._tokens.token(deadline)}"}

    def _renewed(self, rejected: Mapping[str, str], deadline: Deadline) -> dict[str, str]:
        """Authorize with another token than these headers have: GCS did not accept it."""
        token = rejected["Authorization"].removeprefix("Bearer ")
        return {"Authorization": f"Bearer {self._tokens.renew(token, deadline)}"}

    def request(
        self,
        method: str,
        target: str,
        deadline: Deadline,
        *,
        headers: Mapping[str, str] | None = None,
        body: Sequence[Buffer] = (),
    ) -> Response:
        """Send one request; with a new token, should GCS not accept the first.

        Raises DestinationUnavailableError from BrokenConnectionError: then nobody knows whether it
        was carried out.
        """
        authorization = self.authorization(deadline)
        response = self._send(method, target, deadline, {**authorization, **(headers or {})}, body)
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        response.close()
        authorization = self._renewed(authorization, deadline)
        return self._send(method, target, deadline, {**authorization, **(headers or {})}, body)

    def _send(
        self,
        method: str,
        target: str,
        deadline: Deadline,
        headers: Mapping[str, str],
        body: Sequence[Buffer],
    ) -> Response:
        length = {} if method == "GET" else {"Content-Length": str(sum(map(len, body)))}
        try:
            return self.connections.request(method, target, {**headers, **length}, deadline, body)
        except BrokenConnectionError as error:
            raise broken(error) from error


def broken(error: BrokenConnectionError) -> DestinationUnavailableError:
    """A connection to GCS that broke, in our own terms."""
    return DestinationUnavailableError(f"The connection to GCS broke ({error}). Try again.")


_FORBIDDEN = (
    "access denied. Give the credentials create, get, list, update and (to overwrite) delete on the"
    " bucket's objects; and look for a retention policy or a hold on the object"
)
_SLOW_DOWN = "GCS asks for fewer requests. Try again later"

_BY_STATUS: dict[int, tuple[type[ReplicationError], str]] = {
    HTTPStatus.UNAUTHORIZED: (CredentialsError, "it does not accept the credentials in the secret"),
    HTTPStatus.FORBIDDEN: (DestinationForbiddenError, _FORBIDDEN),
    HTTPStatus.NOT_FOUND: (DestinationBucketNotFoundError, "no such bucket. See GCS_BUCKET_NAME"),
    HTTPStatus.REQUEST_TIMEOUT: (
        DestinationUnavailableError,
        "the request took too long. Try again",
    ),
    HTTPStatus.GONE: (DestinationUnavailableError, "the upload's session is gone. Try again"),
    HTTPStatus.TOO_MANY_REQUESTS: (ThrottledError, _SLOW_DOWN),
}


def refuse(response: Response, uri: str) -> NoReturn:
    """Raise what an answer other than success means for the object `uri`.

    Raises DestinationChangedError for a failed precondition.
    """
    if response.status == HTTPStatus.PRECONDITION_FAILED:
        response.close()
        raise DestinationChangedError
    with response:
        reason, message = _reason(response)
    error, why = _meaning(response.status, reason, message)
    raise error(
        f"GCS refused {uri}: {why}. (GCS said {response.status} {reason}".rstrip() + ")",
        retry_after_s=retry_after(response.headers),
        request_id=response.headers.get("X-GUploader-UploadID"),
    )


def _meaning(status: int, reason: str, message: str) -> tuple[type[ReplicationError], str]:
    if reason in _RATE_LIMITS:
        return ThrottledError, _SLOW_DOWN
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return DestinationUnavailableError, "it failed. Try again"
    if "doesn't match calculated" in message:
        return IntegrityError, "the bytes that arrived are not those that were sent. Try again"
    return DestinationRejectedError, message[:200] or "it does not say why"


def _reason(response: Response) -> tuple[str, str]:
    """Google's reason and message; empty where the answer has none."""
    try:
        error = json.loads(response.read())["error"]
        return str(error["errors"][0]["reason"]), str(error["message"])
    except (BrokenConnectionError, ValueError, LookupError, TypeError):
        return "", ""
