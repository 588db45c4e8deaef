"""What boto3 raises, in the replicator's own terms.

Source: S3's API reference, "Error responses".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
)
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
from replicate.retry import is_transient, retry_after


class SourceAbsentError(Exception):
    """S3 has no such object, or no longer has this version of it."""


@contextmanager
def translated(ref: SourceRef) -> Iterator[None]:
    """Translate what boto3 raises about one object.

    Raises ReplicationError, SourceAbsentError, and SourceChangedError for a failed `If-Match`.
    """
    try:
        yield
    except ClientError as error:
        raise _refusal(ref, error) from error
    except NoCredentialsError:
        raise SettingsError(NO_ROLE) from None
    except CredentialRetrievalError:  # its text may quote the response of the credentials' server
        raise SourceUnavailableError(
            "The function's AWS credentials could not be renewed. Try again."
        ) from None
    except ParamValidationError as error:
        raise InvalidNameError(f"S3 cannot have an object {ref.uri}: {error}") from error
    except (BotoCoreError, HTTPError, OSError) as error:
        # boto3's streams translate some of urllib3's errors only.
        raise SourceUnavailableError(
            f"The connection to S3 broke while reading {ref.uri} ({error}). Try again."
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceUnavailableError(
            f"S3's description of {ref.uri} is malformed ({error!r}). Try again."
        ) from error


_ARCHIVED = (
    "it is archived. Restore it (aws s3api restore-object), then ask again;"
    " the event of the completed restore does so by itself"
)

_BY_CODE: dict[str, tuple[type[ReplicationError], str]] = {
    "InvalidObjectState": (SourceArchivedError, _ARCHIVED),
    "NoSuchBucket": (SourceBucketNotFoundError, "there is no such bucket. Check its name"),
    "KeyTooLongError": (InvalidNameError, "the key is too long"),
    "SlowDown": (ThrottledError, "S3 asks for fewer requests. Try again later"),
    "RequestTimeout": (SourceUnavailableError, "the request took too long. Try again"),
    "ExpiredToken": (SourceUnavailableError, "the function's AWS credentials expired. Try again"),
    "RequestTimeTooSkewed": (SourceUnavailableError, "the clocks differ. Try again"),
}


def _refusal(ref: SourceRef, error: ClientError) -> Exception:
    """What an error response of S3 means."""
    metadata = error.response["ResponseMetadata"]
    status, code = metadata["HTTPStatusCode"], error.response["Error"].get("Code", "")
    if status == HTTPStatus.PRECONDITION_FAILED:
        return SourceChangedError(error.response["Error"].get("Message", ""))
    if status == HTTPStatus.NOT_FOUND and code != "NoSuchBucket":
        return SourceAbsentError()
    kind, why = _meaning(status, code)
    headers = metadata.get("HTTPHeaders", {})
    return kind(
        f"S3 did not give {ref.uri}: {why}. (S3 said {status} {code}".rstrip() + ")",
        retry_after_s=retry_after({"Retry-After": headers.get("retry-after", "")}),
        request_id=headers.get("x-amz-request-id"),
    )


def _meaning(status: int, code: str) -> tuple[type[ReplicationError], str]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _BY_CODE["SlowDown"]
    if is_transient(status):
        return SourceUnavailableError, "S3 failed. Try again"
    return SourceForbiddenError, (
        "access denied. Allow the function's role s3:GetObject and s3:GetObjectVersion on it,"
        " s3:ListBucket on the bucket, and kms:Decrypt on the object's key, if it has one"
    )
