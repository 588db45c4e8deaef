"""What an error of boto3 means to the replicator."""

import traceback
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError

from replicate import errors
from replicate.errors import ReplicationError, SourceChangedError
from replicate.protocol.model import SourceRef
from replicate.s3.errors import SourceAbsentError, translate_errors

REF = SourceRef("source", "key")
URI = "s3://source/key"

DENIED = (
    "access denied. Allow the function's role s3:GetObject and s3:GetObjectVersion on the object,"
    " s3:ListBucket on the bucket, and kms:Decrypt on the object's KMS key, if it has one"
)
SSE_C = (
    "S3 does not accept the request. If the object is encrypted with a key of its uploader (SSE-C),"
    " it cannot be replicated: use SSE-S3 or SSE-KMS"
)
ARCHIVED = (
    "the object is archived. Restore it (aws s3api restore-object), then try again. If the bucket"
    " sends its events to the function, the completed restore replicates the object"
)
EXPIRED = "the function's AWS credentials expired, or its clock differs from that of S3. Try again"
SLOW_DOWN = "S3 throttles requests. Try again later"
UNAVAILABLE = "S3 is unavailable. Try again"


def a_refusal(
    status: int,
    code: str | None,
    message: str = "",
    *,
    operation: str = "GetObject",
    **headers: str,
) -> ClientError:
    """Build what boto3 raises for an error response."""
    error = {"Code": code, "Message": message} if code is not None else {}
    response: Any = {
        "Error": error,
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return ClientError(response, operation)


@pytest.mark.parametrize(
    ("status", "code", "kind", "why"),
    [
        (
            400,
            "KeyTooLongError",
            errors.InvalidNameError,
            "the key is too long. S3 allows 1,024 bytes of UTF-8",
        ),
        (
            400,
            "RequestTimeout",
            errors.SourceUnavailableError,
            "the request took too long. Try again",
        ),
        (
            400,
            "ExpiredToken",
            errors.SourceUnavailableError,
            EXPIRED,
        ),
        (400, "TokenRefreshRequired", errors.SourceUnavailableError, EXPIRED),
        (403, "AccessDenied", errors.SourceForbiddenError, DENIED),
        (400, None, errors.SourceForbiddenError, SSE_C),
        (400, "InvalidRequest", errors.SourceForbiddenError, SSE_C),
        (403, "InvalidObjectState", errors.SourceArchivedError, ARCHIVED),
        (
            403,
            "RequestTimeTooSkewed",
            errors.SourceUnavailableError,
            EXPIRED,
        ),
        (
            404,
            "NoSuchBucket",
            errors.SourceBucketNotFoundError,
            "the bucket does not exist. Check its name",
        ),
        (408, "Other", errors.SourceUnavailableError, UNAVAILABLE),
        (400, "KMS.ThrottlingException", errors.ThrottledError, SLOW_DOWN),
        (400, "RequestLimitExceeded", errors.ThrottledError, SLOW_DOWN),
        (403, "RequestThrottled", errors.ThrottledError, SLOW_DOWN),
        (429, "Other", errors.ThrottledError, SLOW_DOWN),
        (499, "Other", errors.SourceForbiddenError, DENIED),
        (500, "InternalError", errors.SourceUnavailableError, UNAVAILABLE),
        (503, "SlowDown", errors.ThrottledError, SLOW_DOWN),
    ],
)
def test_a_refusal_has_its_kind_and_says_why(
    status: int, code: str | None, kind: type[ReplicationError], why: str
) -> None:
    error = a_refusal(status, code)
    with pytest.raises(kind) as caught, translate_errors(REF):
        raise error
    assert type(caught.value) is kind
    said = f"{status} {code}" if code else f"{status}"
    assert caught.value.message == f"Reading {URI} failed: {why}. (S3 responded with {said})"
    assert caught.value.__cause__ is error


def test_a_refusal_has_the_request_id_and_the_time_to_wait() -> None:
    headers = {"retry-after": "7", "x-amz-request-id": "ID"}
    with pytest.raises(ReplicationError) as caught, translate_errors(REF):
        raise a_refusal(503, "SlowDown", **headers)
    assert (caught.value.retry_after_s, caught.value.request_id) == (7.0, "ID")
    with pytest.raises(ReplicationError) as caught, translate_errors(REF):
        raise a_refusal(503, "SlowDown")
    assert (caught.value.retry_after_s, caught.value.request_id) == (None, None)


def test_a_failed_precondition_is_a_lost_race_with_s3_s_own_sentence() -> None:
    with pytest.raises(SourceChangedError) as caught, translate_errors(REF):
        raise a_refusal(412, "PreconditionFailed", "At least one")
    assert caught.value.message == "At least one"


@pytest.mark.parametrize(
    ("operation", "code"),
    [("GetObject", "NoSuchKey"), ("GetObject", "NoSuchVersion"), ("HeadObject", "404")],
)
def test_object_is_absent_if_s3_names_the_error_or_cannot(operation: str, code: str) -> None:
    with pytest.raises(SourceAbsentError), translate_errors(REF):
        raise a_refusal(404, code, operation=operation)


@pytest.mark.parametrize("operation", ["GetObject", "GetObjectTagging", "ListObjectsV2"])
@pytest.mark.parametrize("code", ["404", None])
def test_404_without_an_error_of_s3_is_an_outage(operation: str, code: str | None) -> None:
    with pytest.raises(errors.SourceUnavailableError, match="proxy"), translate_errors(REF):
        raise a_refusal(404, code, operation=operation)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            NoCredentialsError(),
            errors.SettingsError,
            "The function has no AWS credentials. Give it an execution role.",
        ),
        (
            CredentialRetrievalError(provider="x", error_msg="SECRET"),
            errors.SourceUnavailableError,
            "The function's AWS credentials could not be renewed. Try again.",
        ),
        (
            ParamValidationError(report="bad"),
            errors.InvalidNameError,
            (
                f"The bucket name or the key of {URI} is not valid in S3:"
                " Parameter validation failed:\nbad"
            ),
        ),
        (
            OSError("reset"),
            errors.SourceUnavailableError,
            f"The connection to S3 broke while reading {URI} (reset). Try again.",
        ),
        (
            ProtocolError("cut"),
            errors.SourceUnavailableError,
            f"The connection to S3 broke while reading {URI} (cut). Try again.",
        ),
        (
            ReadTimeoutError(endpoint_url="x", error="late"),
            errors.SourceUnavailableError,
            (
                f"The connection to S3 broke while reading {URI} (Read timeout on endpoint URL:"
                ' "x"). Try again.'
            ),
        ),
        *(
            (
                error,
                errors.SourceUnavailableError,
                f"S3's response for {URI} is malformed ({error!r}). Try again.",
            )
            for error in (ValueError("v"), LookupError("l"), TypeError("t"), AttributeError("a"))
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_other_errors_are_translated(
    error: Exception, kind: type[ReplicationError], message: str
) -> None:
    with pytest.raises(kind) as caught, translate_errors(REF):
        raise error
    assert type(caught.value) is kind
    assert caught.value.message == message


def test_malformed_xml_is_transient_and_never_quoted() -> None:
    """Botocore's exception has the whole response, for example an object's tags."""
    with pytest.raises(errors.SourceUnavailableError) as caught, translate_errors(REF):
        raise ResponseParserError("Unable to parse response, invalid XML received: <secret")
    assert caught.value.message == f"S3's response for {URI} is malformed. Try again."
    assert "secret" not in "".join(traceback.format_exception(caught.value))
