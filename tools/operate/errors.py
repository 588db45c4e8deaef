"""What an operator reads instead of a traceback: one sentence that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    LoginError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

LOGIN = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    LoginError,
    SSOError,
    TokenRetrievalError,
)
EXPIRED_OR_INVALID = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
"""Error codes of AWS's services for credentials that are no longer, or were never, valid."""

LOG_IN = "Log in again (aws sso login, aws configure), or set AWS_PROFILE."

ACTIONS = {
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "Invoke": "lambda:InvokeFunction",
    "ListObjectsV2": "s3:ListBucket",
    "GetObject": "s3:GetObject",
    "SendMessageBatch": "sqs:SendMessage",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
"""The IAM action of each operation whose error may not name it, and whose name is another."""


class OperatorError(Exception):
    """A command or a check that failed. Its text says why, and what to do."""


class MissingPermissionError(OperatorError):
    """The operator may not do something. The text names the action."""


@contextmanager
def explained() -> Iterator[None]:
    """Turn the errors of boto3 into OperatorError."""
    try:
        yield
    except ClientError as error:
        raise _refused(error) from error
    except LOGIN as error:
        raise OperatorError(f"There is no valid AWS login ({error}). {LOG_IN}") from error
    except NoRegionError as error:
        raise OperatorError("No AWS region is set. Set AWS_REGION to the stack's.") from error
    except HTTPClientError as error:
        raise OperatorError(f"AWS cannot be reached: {error}. Check network and proxy.") from error
    except BotoCoreError as error:
        raise OperatorError(f"The AWS SDK failed: {error}") from error


def _refused(error: ClientError) -> OperatorError:
    """Describe a request that AWS refused."""
    code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    operation = error.operation_name
    if code in EXPIRED_OR_INVALID:
        return OperatorError(f"The AWS login has expired or is not valid ({code}). {LOG_IN}")
    if "AccessDenied" in code or code in {"AuthorizationError", "Forbidden", "403"}:
        named = re.search(r"not authorized to perform: (\S+)(?: on resource: (\S+))?", text)
        action = named[1] if named else ACTIONS.get(operation, operation)
        resource = f" on {named[2]}" if named and named[2] else ""
        return MissingPermissionError(
            f"You lack the permission {action}{resource}. Ask for it, or use another role"
            " (AWS_PROFILE). docs/SECURITY.md lists the permissions of each command."
        )
    return OperatorError(f"AWS refuses {operation}: {code}: {text}")
