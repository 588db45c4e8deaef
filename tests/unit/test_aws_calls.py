"""What an error of boto3 means to the replicator. No server."""

import traceback

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from replicate.aws_calls import call
from replicate.errors import ReplicationError, SettingsError, ThrottledError, UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy

URL = {"endpoint_url": "https://aws"}


def refusal(status: int, code: str | None = None) -> ClientError:
    error = {} if code is None else {"Code": code}
    response = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Send")  # type: ignore[arg-type] # it may have no code


@pytest.mark.parametrize(
    ("error", "kind", "message", "timed_out"),
    [
        (
            refusal(400, "RequestThrottled"),
            ThrottledError,
            "Send was throttled (RequestThrottled). Try again later.",
            False,
        ),
        (
            refusal(400, "ExecutionLimitExceeded"),
            ThrottledError,
            "Send was throttled (ExecutionLimitExceeded). Try again later.",
            False,
        ),
        *(
            (refusal(status, code), UnavailableError, f"Send failed ({code}). Try again.", False)
            for status, code in [
                (400, "ExpiredTokenException"),
                (403, "ExpiredToken"),
                (400, "RequestExpired"),
                (403, "InvalidSignatureException"),
                (403, "SignatureDoesNotMatch"),
            ]
        ),
        (refusal(500, "Fault"), UnavailableError, "Send failed (Fault). Try again.", False),
        (refusal(503), UnavailableError, "Send failed (). Try again.", False),
        (
            refusal(403, "ExpiredTokenException"),
            UnavailableError,
            "Send failed (ExpiredTokenException). Try again.",
            False,
        ),
        (refusal(403, "Denied"), SettingsError, "Send was refused (Denied). Allow it.", False),
        (
            NoCredentialsError(),
            SettingsError,
            "The function has no AWS credentials. Give it an execution role.",
            False,
        ),
        (
            CredentialRetrievalError(provider="container", error_msg="secret"),
            UnavailableError,
            "The function's AWS credentials could not be renewed. Try again.",
            False,
        ),
        (
            ReadTimeoutError(**URL),
            UnavailableError,
            "Send got no response in time (ReadTimeoutError). Try again.",
            True,
        ),
        (
            ConnectTimeoutError(**URL),
            UnavailableError,
            "Send got no response in time (ConnectTimeoutError). Try again.",
            True,
        ),
        (
            EndpointConnectionError(**URL),
            UnavailableError,
            'Send failed (Could not connect to the endpoint URL: "https://aws"). Try again.',
            False,
        ),
        (
            ResponseParserError("Unable to parse response, invalid XML received: <secret"),
            UnavailableError,
            "Send has a malformed response. Try again.",
            False,
        ),
        (KeyError("status"), UnavailableError, "Send failed ('status'). Try again.", False),
    ],
    ids=repr,
)
def test_error_has_its_kind_and_says_what_to_do(
    error: Exception,
    kind: type[ReplicationError],
    message: str,
    timed_out: bool,  # noqa: FBT001 - a parameter
) -> None:
    def send() -> None:
        raise error

    with pytest.raises(ReplicationError) as caught:
        call("Send", send, RetryPolicy(attempts=1), Deadline(60), remedy="Allow it.")
    assert (type(caught.value), caught.value.message) == (kind, message)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.timed_out is timed_out


def test_request_is_repeated_after_an_outage_only() -> None:
    errors = [refusal(503), refusal(400, "Throttled"), refusal(403, "Denied")]
    attempts = iter(errors)

    def send() -> None:
        raise next(attempts)

    policy = RetryPolicy(attempts=9, first_delay_s=0)
    with pytest.raises(SettingsError) as caught:
        call("Send", send, policy, Deadline(60), remedy="")
    assert caught.value.__cause__ is errors[-1]
