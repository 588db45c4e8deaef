"""Translate the exceptions of Google's libraries to the errors of the replicator."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from requests import RequestException, Response, Timeout

from replicate.breaker import Circuit
from replicate.errors import (
    ComponentGoneError,
    CredentialsError,
    DestinationBucketNotFoundError,
    DestinationChangedError,
    DestinationForbiddenError,
    DestinationRejectedError,
    DestinationUnavailableError,
    IntegrityError,
    OutOfTimeError,
    ReplicationError,
    ThrottledError,
)
from replicate.protocol.deadline import Deadline
from replicate.retry import is_transient, retry_after

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What code raises when it reads a response or a secret that has an unexpected shape."""

_RATE_LIMITS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_POLICY = "orgPolicyConstraintFailed"
_HASH_MISMATCH = "doesn't match calculated"
"""A part of GCS's message about a wrong checksum. Its reason, `invalid`, is not specific."""


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Translate what google-cloud-storage raises in a request about `uri`.

    Raise DestinationChangedError for a failed precondition, and ReplicationError for everything
    else. After a DestinationUnavailableError the request may have taken effect.
    """
    try:
        yield
    except GoogleAPICallError as error:
        raise _from_api_error(error, uri) from error
    except (RequestException, OSError) as error:
        raise unreachable(error) from None  # its text may hold a session URI
    except GoogleAuthError:
        raise CredentialsError(
            "Google's libraries cannot use the credentials in the secret. Check"
            " GcpCredentialsSecretArn (GCP_CREDENTIALS_SECRET)."
        ) from None


@contextmanager
def translate_malformed() -> Iterator[None]:
    """Translate what google-cloud-storage raises when it reads a malformed response.

    It does not validate responses: one without a content type is returned as bytes.
    """
    try:
        yield
    except MALFORMED as error:
        raise malformed(error) from error


def unreachable(error: Exception) -> DestinationUnavailableError:
    """Return the error for a broken connection or for a response that is not HTTP."""
    return DestinationUnavailableError(
        f"The connection to GCS broke ({type(error).__name__}). Try again.",
        timed_out=is_timeout(error),
    )


def is_timeout(error: BaseException | None) -> bool:
    """Return whether `requests` raises this error after it has waited for its timeout."""
    return isinstance(error, Timeout | TimeoutError)


@contextmanager
def admit_request(
    circuit: Circuit, deadline: Deadline, *, at_least_s: float = 0.0
) -> Iterator[float]:
    """Send one request to Google, unless it has not responded for a while. Yield its timeout.

    A request of many bytes waits for `at_least_s`, and does not tell how fast Google responds. A
    timeout counts only after a full wait: near the deadline the waits are shorter. It ends the run
    if Google has not responded in this invocation.

    Raise DestinationUnavailableError, OutOfTimeError.
    """
    left_s = deadline.require()
    allowed_s = circuit.admit()
    if allowed_s is None:
        raise DestinationUnavailableError(
            "Google did not respond to the last requests, so it is not asked for some seconds. Try"
            " again.",
            ends_run=True,
        )
    longest_s = max(allowed_s, at_least_s)
    timeout_s = min(longest_s, left_s)
    started = circuit.clock()
    try:
        yield timeout_s
    except Exception as error:
        _record(circuit, error, is_full_wait=timeout_s == longest_s)
        raise
    circuit.responded(0.0 if at_least_s else circuit.clock() - started)


def _record(circuit: Circuit, error: Exception, *, is_full_wait: bool) -> None:
    """Tell the circuit what an error says about Google: a response, a silence, or nothing.

    It says nothing if the time ran out, AWS failed (the credentials, or the bytes to send), another
    part failed, or the function has a defect.
    """
    if isinstance(error, DestinationChangedError | ComponentGoneError):
        circuit.responded()
    if not isinstance(error, ReplicationError) or isinstance(error, OutOfTimeError):
        return
    if error.from_aws:
        return
    if not error.timed_out:
        circuit.responded()
    elif is_full_wait:
        error.ends_run = not circuit.is_alive
        circuit.timed_out()


@contextmanager
def mark_aws_errors() -> Iterator[None]:
    """Mark the errors of AWS, which the function also asks within a request to Google."""
    try:
        yield
    except ReplicationError as error:
        error.from_aws = True
        raise


def malformed(error: Exception) -> DestinationUnavailableError:
    """Return the error for a response that does not have the documented shape."""
    return DestinationUnavailableError(f"GCS's response is malformed ({error!r}). Try again.")


def _from_api_error(error: GoogleAPICallError, uri: str) -> Exception:
    response = error.response
    if isinstance(response, Response):
        return from_response(response, uri)
    return DestinationUnavailableError(f"GCS failed for {uri} ({error.code}). Try again.")


_REQUEST_ID = "X-GUploader-UploadID"
"""The header of GCS's own responses."""


def from_response(response: Response, uri: str) -> Exception:
    """Return the error that an error response to a request about `uri` stands for."""
    reason, message = _reason_and_message(response)
    request_id = response.headers.get(_REQUEST_ID)
    is_race = reason != _POLICY and _HASH_MISMATCH not in message
    if response.status_code == HTTPStatus.PRECONDITION_FAILED and is_race:
        return DestinationChangedError(message)
    error_type, problem = _classify(response.status_code, reason, message)
    status = f"{response.status_code} {reason}".rstrip()
    problem = problem.rstrip(".")
    return error_type(
        f"The request to GCS for {uri} failed: {problem}. (GCS responded with {status})",
        retry_after_s=retry_after(response.headers),
        request_id=request_id,
    )


_FORBIDDEN = (
    "access denied. Grant the credentials storage.objects.create, get, list, update and (to"
    " overwrite) delete on the bucket. Check whether a retention policy or a hold protects the"
    " object"
)
_SLOW_DOWN = "GCS throttles requests. Try again later"

_BY_STATUS: Mapping[int, tuple[type[ReplicationError], str]] = {
    HTTPStatus.UNAUTHORIZED: (
        CredentialsError,
        "GCS refuses the credentials. Check GcpCredentialsSecretArn (GCP_CREDENTIALS_SECRET)",
    ),
    HTTPStatus.FORBIDDEN: (DestinationForbiddenError, _FORBIDDEN),
    HTTPStatus.NOT_FOUND: (
        DestinationBucketNotFoundError,
        "the bucket does not exist. Check GcsBucketName (GCS_BUCKET_NAME)",
    ),
    HTTPStatus.CONFLICT: (
        DestinationUnavailableError,
        "another write of the same object was in progress. Try again",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (ThrottledError, _SLOW_DOWN),
}


def _classify(status: int, reason: str, message: str) -> tuple[type[ReplicationError], str]:
    """Return the class of an error response, and what is wrong and what to do."""
    if reason in _RATE_LIMITS:
        return ThrottledError, _SLOW_DOWN
    if reason == _POLICY:
        return (
            DestinationForbiddenError,
            f"a policy of the organization refuses it: {message[:200]}",
        )
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if is_transient(status) or status < HTTPStatus.BAD_REQUEST:  # GCS documents no such success
        return DestinationUnavailableError, "GCS is unavailable. Try again"
    return _classify_rejection(reason, message)


def _classify_rejection(reason: str, message: str) -> tuple[type[ReplicationError], str]:
    """Return the class of a 4xx that has no other meaning. A proxy's has no error of GCS."""
    if _HASH_MISMATCH in message:
        return IntegrityError, "the bytes that GCS received do not match their checksum. Try again"
    if not reason and not message:
        return DestinationUnavailableError, (
            "the response has no error of GCS. Check the proxy or the endpoint between the function"
            " and GCS. Try again"
        )
    return DestinationRejectedError, message[:200] or "GCS gives no reason"


def _reason_and_message(response: Response) -> tuple[str, str]:
    """Return reason and message of an error response. Both are empty if it has none.

    GCS's upload servers respond to some requests with plain text. A proxy's response has no ID.
    """
    try:
        error: Mapping[str, Any] = response.json()["error"]
        message = str(error["message"])
    except MALFORMED:
        return "", response.text[:200] if _REQUEST_ID in response.headers else ""
    try:
        return str(error["errors"][0]["reason"]), message
    except MALFORMED:
        return "", message
