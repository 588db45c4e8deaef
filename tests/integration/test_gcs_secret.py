"""The secret is read over the network."""

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from canned import serve_responses

from replicate.aws_clients import AwsClients
from replicate.errors import CredentialsError, SettingsError, UnavailableError
from replicate.gcs.secret import Secret
from replicate.gcs.trusted_hosts import TrustedHosts
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient

POLICY = RetryPolicy(attempts=3, first_delay_s=0.01)

Make = Callable[[str], Secret]


@pytest.fixture(name="secret")
def make_secret(aws: str) -> Iterator[Make]:  # noqa: ARG001 - for its variables
    """Return a function that builds a `Secret` for the configured endpoint."""
    built: list[AwsClients] = []

    def make(name: str) -> Secret:
        built.append(AwsClients("us-east-1", POLICY))
        trusted = TrustedHosts(frozenset({"googleapis.com"}))
        return Secret(built[-1], name, "us-east-1", POLICY, trusted)

    yield make
    for clients in built:
        clients.close()


@pytest.fixture
def manager(aws: str) -> Iterator["SecretsManagerClient"]:  # noqa: ARG001 - for its variables
    client = boto3.client("secretsmanager")
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    return f"a/{uuid.uuid4().hex}"


def test_secret_is_read_by_name_or_arn_as_text_or_bytes(
    secret: Make, manager: "SecretsManagerClient", name: str
) -> None:
    manager.create_secret(Name=name, SecretString='{"ü": 1}')
    arn = manager.create_secret(Name=f"{name}-bytes", SecretBinary='{"ß": 1}'.encode())["ARN"]
    assert secret(name).read(Deadline(60)) == '{"ü": 1}'
    assert secret(arn).read(Deadline(60)) == '{"ß": 1}'


def test_rotated_secret_is_read(secret: Make, manager: "SecretsManagerClient", name: str) -> None:
    manager.create_secret(Name=name, SecretString="old")
    reader = secret(name)
    assert reader.read(Deadline(60)) == "old"
    manager.put_secret_value(SecretId=name, SecretString="new")
    assert reader.read(Deadline(60)) == "new"


def test_missing_secret_is_named_with_the_setting(secret: Make) -> None:
    with pytest.raises(CredentialsError, match=r"nothing .*ResourceNotFound.*GCP_CREDENTIALS_SECR"):
        secret("nothing").read(Deadline(60))


def test_unavailable_error_is_raised_when_the_service_is_down(
    secret: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"gcp .*\(EndpointConnectionError\)"):
        secret("gcp").read(Deadline(10))


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all AWS credentials, as in a function without a role."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_settings_error_is_raised_when_the_function_has_no_role(
    secret: Make, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("no_keys")
    with pytest.raises(SettingsError, match="Give it an execution role"):
        secret("gcp").read(Deadline(10))


SECRET_RESPONSE = (200, b'{"SecretString": "found"}')


@pytest.mark.parametrize(
    "response",
    [
        (400, b'{"__type": "com.amazon#ThrottlingException", "message": "slow down"}'),
        (400, b'{"__type": "RequestLimitExceeded"}'),
        (429, b""),
        (500, b'{"__type": "InternalServiceError"}'),
        (503, b""),
        (200, b"no JSON"),
    ],
)
def test_transient_error_is_retried(
    secret: Make, monkeypatch: pytest.MonkeyPatch, response: tuple[int, bytes]
) -> None:
    with serve_responses(response, response, SECRET_RESPONSE) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
        assert secret("gcp").read(Deadline(60)) == "found"
        assert service.request_count == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"no JSON", b'{"SecretBinary": 7}', b'{"SecretString": 7}', b"{}", b"null"],
)
def test_malformed_response_is_reported_without_its_content(
    secret: Make, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with serve_responses((200, body)) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
        with pytest.raises(UnavailableError, match="could not be read") as caught:
            secret("gcp").read(Deadline(60))
        assert caught.value.__suppress_context__ or not caught.value.__context__
        assert service.request_count == POLICY.attempts


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ((403, b"<html>proxy</html>"), r"\(403\)"),
        ((400, b'{"__type": "AccessDeniedException", "message": "no"}'), "AccessDeniedException"),
        ((400, b'{"__type": "DecryptionFailure", "message": "no"}'), "DecryptionFailure"),
    ],
)
def test_refusal_is_not_retried_and_its_code_is_named(
    secret: Make, monkeypatch: pytest.MonkeyPatch, response: tuple[int, bytes], code: str
) -> None:
    with serve_responses(response) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
        with pytest.raises(CredentialsError, match=code):
            secret("gcp").read(Deadline(60))
        assert service.request_count == 1
