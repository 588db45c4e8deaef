"""Translate the exceptions of boto3 to the errors of the replicator.

Source: "Error responses" in S3's API reference.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from replicate.aws_clients import NO_ROLE
from replicate.errors import (
    InvalidNameError,
    ReplicationError,
    SettingsError,
    SourceArchivedError,
    SourceBucketNotFoundError,
    SourceChangedError,
    SourceForbiddenError,
    SourceUnavailableError,
    ThrottledError,
)
from replicate.protocol.model import SourceRef
from replicate.retry import is_expired, is_throttling, is_transient, retry_after


class SourceAbsentError(Exception):
    """S3 does not have the object, or no longer has this version of it."""


_ABSENT = frozenset({"NoSuchKey", "NoSuchVersion"})
"""Source: "List of error codes" in S3's API reference."""

_BODILESS = "HeadObject"
"""The response to a HEAD has no body that could name an error."""


@contextmanager
def translate_errors(ref: SourceRef) -> Iterator[None]:
    """Translate what boto3 raises while it reads one object.

    Raise SourceAbsentError for a 404 of S3, SourceChangedError for a failed `If-Match`, and
    ReplicationError for everything else.
    """
    try:
        yield
    except ClientError as error:
        raise _from_error_response(ref, error) from error
    except NoCredentialsError:
        raise SettingsError(NO_ROLE) from None
    except CredentialRetrievalError:  # its text may quote a response that holds credentials
        raise SourceUnavailableError(
            "The function's AWS credentials could not be renewed. Try again."
        ) from None
    except ParamValidationError as error:
        raise InvalidNameError(
            f"The bucket name or the key of {ref.uri} is not valid in S3: {error}"
        ) from error
    except ResponseParserError:  # its text quotes the response, for example an object's tags
        raise SourceUnavailableError(
            f"S3's response for {ref.uri} is malformed. Try again."
        ) from None
    except (BotoCoreError, HTTPError, OSError) as error:
        # StreamingBody translates only some of the exceptions of urllib3.
        raise SourceUnavailableError(
            f"The connection to S3 broke while reading {ref.uri} ({error}). Try again.",
            timed_out=isinstance(error, ConnectTimeoutError | ReadTimeoutError),
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceUnavailableError(
            f"S3's response for {ref.uri} is malformed ({error!r}). Try again."
        ) from error


_ARCHIVED = (
    "the object is archived. Restore it (aws s3api restore-object), then try again. If the bucket"
    " sends its events to the function, the completed restore replicates the object"
)


_BY_CODE: dict[str, tuple[type[ReplicationError], str]] = {
    "InvalidObjectState": (SourceArchivedError, _ARCHIVED),
    "NoSuchBucket": (SourceBucketNotFoundError, "the bucket does not exist. Check its name"),
    "KeyTooLongError": (InvalidNameError, "the key is too long. S3 allows 1,024 bytes of UTF-8"),
    "RequestTimeout": (SourceUnavailableError, "the request took too long. Try again"),
}


def _from_error_response(ref: SourceRef, error: ClientError) -> Exception:
    """Return the error that an error response of S3 stands for."""
    metadata = error.response["ResponseMetadata"]
    status, code = metadata["HTTPStatusCode"], error.response["Error"].get("Code", "")
    if status == HTTPStatus.PRECONDITION_FAILED:
        return SourceChangedError(error.response["Error"].get("Message", ""))
    if code in _ABSENT or (status == HTTPStatus.NOT_FOUND and error.operation_name == _BODILESS):
        return SourceAbsentError()
    if status == HTTPStatus.NOT_FOUND and code not in _BY_CODE:  # it must delete no replica
        return SourceUnavailableError(
            f"A 404 for {ref.uri} does not come from S3: its body has no error of S3. Check the"
            " proxy or the endpoint between the function and S3."
        )
    error_type, problem = _classify(status, code)
    headers = metadata.get("HTTPHeaders", {})
    return error_type(
        f"Reading {ref.uri} failed: {problem}. (S3 responded with {status} {code}".rstrip() + ")",
        retry_after_s=retry_after({"Retry-After": headers.get("retry-after", "")}),
        request_id=headers.get("x-amz-request-id"),
    )


def _classify(status: int, code: str) -> tuple[type[ReplicationError], str]:
    """Return the class of an error response, and what is wrong and what to do."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == HTTPStatus.TOO_MANY_REQUESTS or is_throttling(code):
        return ThrottledError, "S3 throttles requests. Try again later"
    if is_expired(code):
        return SourceUnavailableError, (
            "the function's AWS credentials expired, or its clock differs from that of S3. Try"
            " again"
        )
    if is_transient(status):
        return SourceUnavailableError, "S3 is unavailable. Try again"
    if status == HTTPStatus.BAD_REQUEST:
        return SourceForbiddenError, (
            "S3 does not accept the request. If the object is encrypted with a key of its uploader"
            " (SSE-C), it cannot be replicated: use SSE-S3 or SSE-KMS"
        )
    return SourceForbiddenError, (
        "access denied. Allow the function's role s3:GetObject and s3:GetObjectVersion on the"
        " object, s3:ListBucket on the bucket, and kms:Decrypt on the object's KMS key, if it has"
        " one"
    )
