"""What Google's libraries raise, in the replicator's own terms."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from requests import RequestException, Response

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
from replicate.retry import is_transient, retry_after

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What code raises that reads a response, or a secret, of another shape than it expects."""

_RATE_LIMITS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_HASH_MISMATCH = "doesn't match calculated"
"""In GCS's message about a wrong checksum; the reason, `invalid`, says nothing."""


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Translate what google-cloud-storage raises about the object `uri`.

    Raises ReplicationError, and DestinationChangedError for a failed precondition. After
    DestinationUnavailableError nobody knows whether the request took effect.
    """
    try:
        yield
    except GoogleAPICallError as error:
        raise _of_call(error, uri) from error
    except (RequestException, OSError) as error:
        raise unreachable(error) from None  # its text may hold the address of an upload's session
    except GoogleAuthError:
        raise CredentialsError(
            "Google's libraries cannot use the credentials in the secret. Check the secret named"
            " by GCP_CREDENTIALS_SECRET."
        ) from None


def unreachable(error: Exception) -> DestinationUnavailableError:
    """Describe a connection that broke, or a response that is none."""
    return DestinationUnavailableError(
        f"The connection to GCS broke ({type(error).__name__}). Try again."
    )


def malformed(error: Exception) -> DestinationUnavailableError:
    """Describe a response of another shape than documented."""
    return DestinationUnavailableError(f"GCS's response is malformed ({error!r}). Try again.")


def _of_call(error: GoogleAPICallError, uri: str) -> Exception:
    response = error.response
    if isinstance(response, Response):
        return refusal(response, uri)
    return DestinationUnavailableError(f"GCS failed for {uri} ({error.code}). Try again.")


def refusal(response: Response, uri: str) -> Exception:
    """Return what a response other than success means for the object `uri`."""
    reason, message = _reason(response)
    if response.status_code == HTTPStatus.PRECONDITION_FAILED:
        return DestinationChangedError(message)
    kind, why = _meaning(response.status_code, reason, message)
    return kind(
        f"GCS refused {uri}: {why}. (GCS said {response.status_code} {reason}".rstrip() + ")",
        retry_after_s=retry_after(response.headers),
        request_id=response.headers.get("X-GUploader-UploadID"),
    )


_FORBIDDEN = (
    "access denied. Give the credentials create, get, list, update and (to overwrite) delete on the"
    " bucket's objects; and look for a retention policy or a hold on the object"
)
_SLOW_DOWN = "GCS asks for fewer requests. Try again later"

_BY_STATUS: Mapping[int, tuple[type[ReplicationError], str]] = {
    HTTPStatus.UNAUTHORIZED: (CredentialsError, "it does not accept the credentials in the secret"),
    HTTPStatus.FORBIDDEN: (DestinationForbiddenError, _FORBIDDEN),
    HTTPStatus.NOT_FOUND: (DestinationBucketNotFoundError, "no such bucket. See GCS_BUCKET_NAME"),
    HTTPStatus.TOO_MANY_REQUESTS: (ThrottledError, _SLOW_DOWN),
}


def _meaning(status: int, reason: str, message: str) -> tuple[type[ReplicationError], str]:
    if reason in _RATE_LIMITS:
        return ThrottledError, _SLOW_DOWN
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if is_transient(status) or status < HTTPStatus.BAD_REQUEST:  # no success as documented
        return DestinationUnavailableError, "it failed. Try again"
    if _HASH_MISMATCH in message:
        return IntegrityError, "the bytes that arrived are not those that were sent. Try again"
    return DestinationRejectedError, message[:200] or "it does not say why"


def _reason(response: Response) -> tuple[str, str]:
    """Google's reason and message; empty where the response has none."""
    try:
        error: Mapping[str, Any] = response.json()["error"]
        return str(error["errors"][0]["reason"]), str(error["message"])
    except MALFORMED:
        return "", ""
