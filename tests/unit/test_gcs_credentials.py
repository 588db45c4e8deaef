"""What the token service of Google answers, and what it means to the replicator. No server."""

import json
from collections.abc import Callable

import pytest
import requests
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.oauth2.service_account import Credentials as KeyCredentials
from network import Network, answer, broken

from replicate.errors import CredentialsError, DestinationUnavailableError
from replicate.gcs.credentials import SecretCredentials
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy
from tools.local.gcs.keyring import Keyring

KEY = json.dumps(Keyring(3600).create_key("https://oauth2.googleapis.com"))


class Vault:
    """A secret that holds one key."""

    def __init__(self, make: Callable[[str], Credentials]) -> None:
        self.credentials = make

    def read(self, deadline: Deadline) -> str:
        deadline.require()
        return KEY


def from_key(text: str) -> Credentials:
    made: Credentials = KeyCredentials.from_service_account_info(json.loads(text), scopes=["scope"])
    return made


def failing_with(error: Exception) -> Callable[[str], Credentials]:
    """Return a function that makes credentials for which google-auth raises this error."""

    class Failing(Credentials):
        def refresh(self, request: object) -> None:
            del request
            raise error

    return lambda _: Failing()  # type: ignore[no-untyped-call]


def refresh(
    make: Callable[[str], Credentials] = from_key, *, io_timeout_s: float = 20, left_s: float = 60
) -> SecretCredentials:
    """Get a token."""
    deadline = Deadline(left_s, clock=lambda: 0.0)
    made = SecretCredentials(Vault(make), deadline, RetryPolicy(io_timeout_s=io_timeout_s))
    made.refresh(None)
    return made


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(
            (f"('{name}: secret', {{}})", name)
            for name in ("invalid_grant", "invalid_client", "unauthorized_client", "access_denied")
        ),
        ("secret", "RefreshError"),
    ],
)
def test_refusal_is_named_and_its_description_is_not_quoted(text: str, name: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        refresh(failing_with(RefreshError(text)))
    assert caught.value.message == (
        f"Google does not accept the credentials in the secret ({name}). Check that the service"
        " account key exists and is enabled, or check the workload identity pool and its provider."
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GoogleAuthError("secret", retryable=True), "Google's token service failed. Try again."),
        (
            KeyError("secret"),
            "The response of Google's token service is malformed. Try again.",
        ),
    ],
)
def test_transient_failure_is_not_that_of_the_secret(error: Exception, message: str) -> None:
    with pytest.raises(DestinationUnavailableError) as caught:
        refresh(failing_with(error))
    assert caught.value.message == message
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("io_timeout_s", "left_s", "timeout"), [(20, 60, 5), (3, 60, 3), (20, 2, 2)]
)
def test_token_is_asked_for_once_and_has_its_time(
    network: Network, io_timeout_s: float, left_s: float, timeout: float
) -> None:
    network.answers = [answer(200, access_token="token", expires_in=3600)]
    assert refresh(io_timeout_s=io_timeout_s, left_s=left_s).token == "token"
    (sent,) = network.sent
    assert (sent.line, sent.timeout) == ("POST https://oauth2.googleapis.com/token", timeout)
    assert sent.body.startswith(b"assertion=")


@pytest.mark.parametrize("error", [broken(), requests.ReadTimeout("secret")])
def test_token_service_that_does_not_answer_is_an_outage(
    network: Network, error: Exception
) -> None:
    network.answers = [error]
    with pytest.raises(DestinationUnavailableError) as caught:
        refresh()
    assert caught.value.message == (
        f"Google's token service could not be reached ({type(error).__name__}). Try again."
    )
    assert caught.value.timed_out == isinstance(error, requests.Timeout)


def test_token_service_says_when_to_try_again(network: Network) -> None:
    network.answers = [answer(503, {"Retry-After": "7"})]
    with pytest.raises(DestinationUnavailableError) as caught:
        refresh()
    assert caught.value.message == "Google's token service failed (503). Try again."
    assert caught.value.retry_after_s == 7


def test_url_that_cannot_be_read_is_that_of_the_secret(network: Network) -> None:
    network.answers = [requests.exceptions.InvalidURL("https://secret")] * 2  # it is read again
    with pytest.raises(CredentialsError) as caught:
        refresh()
    assert caught.value.message == (
        "The secret named by GcpCredentialsSecretArn (GCP_CREDENTIALS_SECRET) cannot be used: it"
        " has an invalid URL. Store the file that Google Cloud created, without changes."
    )
