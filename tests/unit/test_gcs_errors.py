"""What a response of GCS, and an error of Google's libraries, means to the replicator."""

import json
from typing import Any

import pytest
import requests
from google.api_core.exceptions import GoogleAPICallError, from_http_response
from google.auth.exceptions import GoogleAuthError, TransportError

from replicate import errors
from replicate.errors import DestinationChangedError, ReplicationError
from replicate.gcs.errors import from_response, malformed, translate_errors, unreachable

URI = "gs://replica/key"


def a_response(
    status: int, reason: str | None = "why", message: str = "said", **headers: str
) -> requests.Response:
    """Build a response of GCS; without a reason it has no JSON."""
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    error: dict[str, Any] = {"errors": [{"reason": reason}], "message": message}
    response._content = b"<html>" if reason is None else json.dumps({"error": error}).encode()  # noqa: SLF001
    response.request = requests.Request("GET", "https://storage.example/o").prepare()
    return response


FORBIDDEN = (
    "access denied. Grant the credentials storage.objects.create, get, list, update and (to"
    " overwrite) delete on the bucket. Check whether a retention policy or a hold protects the"
    " object"
)
SLOW_DOWN = "GCS throttles requests. Try again later"
UNAVAILABLE = "GCS is unavailable. Try again"
NOT_ACCEPTED = "GCS refuses the credentials. Check GcpCredentialsSecretArn (GCP_CREDENTIALS_SECRET)"
NO_BUCKET = "the bucket does not exist. Check GcsBucketName (GCS_BUCKET_NAME)"
FOREIGN = (
    "the response has no error of GCS. Check the proxy or the endpoint between the function and"
    " GCS. Try again"
)
CONFLICT = "another write of the same object was in progress. Try again"
CORRUPT = "the bytes that GCS received do not match their checksum. Try again"


@pytest.mark.parametrize(
    ("status", "reason", "message", "kind", "why"),
    [
        (200, None, "", errors.DestinationUnavailableError, UNAVAILABLE),
        (302, "x", "", errors.DestinationUnavailableError, UNAVAILABLE),
        (399, "x", "", errors.DestinationUnavailableError, UNAVAILABLE),
        (400, "invalid", "a bad field", errors.DestinationRejectedError, "a bad field"),
        (400, "invalid", "", errors.DestinationRejectedError, "GCS gives no reason"),
        (400, None, "", errors.DestinationUnavailableError, FOREIGN),
        (413, None, "", errors.DestinationUnavailableError, FOREIGN),
        (400, "invalid", "x" * 201, errors.DestinationRejectedError, "x" * 200),
        (
            400,
            "invalid",
            "CRC32C doesn't match calculated CRC32C",
            errors.IntegrityError,
            CORRUPT,
        ),
        (412, "x", "MD5 doesn't match calculated MD5", errors.IntegrityError, CORRUPT),
        (401, "authError", "", errors.CredentialsError, NOT_ACCEPTED),
        (403, "forbidden", "", errors.DestinationForbiddenError, FORBIDDEN),
        (403, "rateLimitExceeded", "", errors.ThrottledError, SLOW_DOWN),
        (403, "userRateLimitExceeded", "", errors.ThrottledError, SLOW_DOWN),
        (
            404,
            "notFound",
            "",
            errors.DestinationBucketNotFoundError,
            NO_BUCKET,
        ),
        (408, None, "", errors.DestinationUnavailableError, UNAVAILABLE),
        (409, "conflict", "other", errors.DestinationUnavailableError, CONFLICT),
        (
            412,
            "orgPolicyConstraintFailed",
            "no such object here",
            errors.DestinationForbiddenError,
            "a policy of the organization refuses it: no such object here",
        ),
        (429, "rateLimitExceeded", "", errors.ThrottledError, SLOW_DOWN),
        (429, None, "", errors.ThrottledError, SLOW_DOWN),
        (500, "backendError", "", errors.DestinationUnavailableError, UNAVAILABLE),
    ],
)
def test_a_refusal_has_its_kind_and_says_why(
    status: int, reason: str | None, message: str, kind: type[ReplicationError], why: str
) -> None:
    found = from_response(a_response(status, reason, message), URI)
    assert type(found) is kind
    said = f"{status} {reason}" if reason else f"{status}"
    assert str(found) == f"The request to GCS for {URI} failed: {why}. (GCS responded with {said})"


def test_a_refusal_without_a_reason_is_one_of_gcs() -> None:
    response = a_response(400)
    response._content = json.dumps({"error": {"code": 400, "message": "a bad field"}}).encode()  # noqa: SLF001
    found = from_response(response, URI)
    assert type(found) is errors.DestinationRejectedError
    assert "failed: a bad field. (GCS responded with 400)" in str(found)


def test_a_refusal_in_plain_text_is_one_of_gcs_if_it_has_an_id() -> None:
    """GCS's upload servers have no JSON for some requests. A proxy's response has no ID."""
    response = a_response(400, None, **{"x-guploader-uploadid": "ID"})
    response._content = b"Failed to parse Content-Range header."  # noqa: SLF001
    found = from_response(response, URI)
    assert type(found) is errors.DestinationRejectedError
    assert "failed: Failed to parse Content-Range header. (GCS" in str(found)


def test_a_refusal_has_the_request_id_and_the_time_to_wait() -> None:
    found = from_response(
        a_response(503, **{"retry-after": "7", "x-guploader-uploadid": "ID"}), URI
    )
    assert isinstance(found, ReplicationError)
    assert (found.retry_after_s, found.request_id) == (7.0, "ID")
    plain = from_response(a_response(503), URI)
    assert isinstance(plain, ReplicationError)
    assert (plain.retry_after_s, plain.request_id) == (None, None)


def test_a_failed_precondition_is_a_lost_race_with_gcs_s_own_sentence() -> None:
    found = from_response(a_response(412, "conditionNotMet", "At least one condition"), URI)
    assert isinstance(found, DestinationChangedError)
    assert found.message == "At least one condition"


def test_an_api_error_is_read_from_its_response() -> None:
    error = from_http_response(a_response(403, "forbidden"))
    with (
        pytest.raises(errors.DestinationForbiddenError, match=URI) as caught,
        translate_errors(URI),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_an_api_error_without_a_response_is_unavailable() -> None:
    with pytest.raises(errors.DestinationUnavailableError) as caught, translate_errors(URI):
        raise GoogleAPICallError("no")
    assert caught.value.message == f"GCS failed for {URI} (None). Try again."


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("https://session"), TimeoutError("https://session")]
)
def test_a_broken_connection_is_unavailable_and_names_no_address(error: Exception) -> None:
    with pytest.raises(errors.DestinationUnavailableError) as caught, translate_errors(URI):
        raise error
    name = type(error).__name__
    assert caught.value.message == f"The connection to GCS broke ({name}). Try again."
    assert caught.value.__suppress_context__
    assert unreachable(error).message == caught.value.message
    assert caught.value.timed_out is isinstance(error, TimeoutError)


@pytest.mark.parametrize("error", [GoogleAuthError("secret"), TransportError("secret")])
def test_an_error_of_google_auth_is_that_of_the_secret(error: Exception) -> None:
    with pytest.raises(errors.CredentialsError) as caught, translate_errors(URI):
        raise error
    assert caught.value.message == (
        "Google's libraries cannot use the credentials in the secret. Check"
        " GcpCredentialsSecretArn (GCP_CREDENTIALS_SECRET)."
    )
    assert caught.value.__suppress_context__


def test_a_malformed_response_is_unavailable() -> None:
    found = malformed(LookupError("no crc32c"))
    assert type(found) is errors.DestinationUnavailableError
    assert found.message == ("GCS's response is malformed (LookupError('no crc32c')). Try again.")
