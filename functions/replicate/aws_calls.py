"""Calls of AWS services other than S3: their errors, and the retries within the invocation."""

from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from replicate.aws_clients import NO_ROLE, translate_credential_errors
from replicate.errors import ReplicationError, SettingsError, ThrottledError, UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy, is_expired, is_throttling, is_transient, retrying

T = TypeVar("T")


def call(
    operation: str,
    request: Callable[[], T],
    policy: RetryPolicy,
    deadline: Deadline,
    *,
    remedy: str,
) -> T:
    """Send a request, and repeat it after a transient error. So it must be idempotent.

    `remedy` says what to allow if AWS refuses the request. Raise ReplicationError.
    """

    def attempt() -> T:
        try:
            with translate_credential_errors():
                return request()
        except ClientError as error:
            raise _refusal(operation, error, remedy) from error
        except NoCredentialsError:
            raise SettingsError(NO_ROLE) from None
        except ResponseParserError:  # its text quotes the response
            raise UnavailableError(f"{operation} has a malformed response. Try again.") from None
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            raise UnavailableError(
                f"{operation} got no response in time ({type(error).__name__}). Try again.",
                timed_out=True,
            ) from error
        except (BotoCoreError, LookupError) as error:  # no connection, or a malformed response
            raise UnavailableError(f"{operation} failed ({error}). Try again.") from error

    return retrying(attempt, policy, deadline)


def _refusal(operation: str, error: ClientError, remedy: str) -> ReplicationError:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    code = error.response["Error"].get("Code", "")
    if is_throttling(code):
        return ThrottledError(f"{operation} was throttled ({code}). Try again later.")
    if is_transient(status) or is_expired(code):
        return UnavailableError(f"{operation} failed ({code}). Try again.")
    return SettingsError(f"{operation} was refused ({code}). {remedy}")
