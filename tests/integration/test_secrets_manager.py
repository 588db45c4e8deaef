"""The secret, read over the network."""

import re
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from canned import answering

from replicate.aws_clients import AwsClients
from replicate.errors import CredentialsError, SettingsError, UnavailableError
from replicate.gcs.secret import Secret
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient

POLICY = RetryPolicy(attempts=3, first_delay_s=0.01)

Make = Callable[[str], Secret]


@pytest.fixture(name="secret")
def make_secret(aws: str) -> Iterator[Make]:  # noqa: ARG001 - for its variables
    """Return a function that makes readers for the endpoint of the environment."""
    made: list[AwsClients] = []

    def make(name: str) -> Secret:
        made.append(AwsClients("us-east-1", POLICY))
        return Secret(made[-1], name, "us-east-1", POLICY)

    yield make
    for clients in made:
        clients.close()


@pytest.fixture
def manager(aws: str) -> Iterator["SecretsManagerClient"]:  # noqa: ARG001 - for its variables
    client = boto3.client("secretsmanager")
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    return f"a/{uuid.uuid4().hex}"


def test_a_secret_is_read_by_name_or_arn_as_text_or_as_bytes(
    secret: Make, manager: "SecretsManagerClient", name: str
) -> None:
    manager.create_secret(Name=name, SecretString='{"ü": 1}')
    arn = manager.create_secret(Name=f"{name}-bytes", SecretBinary='{"ß": 1}'.encode())["ARN"]
    assert secret(name).read(Deadline(60)) == '{"ü": 1}'
    assert secret(arn).read(Deadline(60)) == '{"ß": 1}'


def test_a_rotated_secret_is_read_as_it_is_now(
    secret: Make, manager: "SecretsManagerClient", name: str
) -> None:
    manager.create_secret(Name=name, SecretString="old")
    reader = secret(name)
    assert reader.read(Deadline(60)) == "old"
    manager.put_secret_value(SecretId=name, SecretString="new")
    assert reader.read(Deadline(60)) == "new"


def test_a_missing_secret_is_named_with_the_setting(secret: Make) -> None:
    with pytest.raises(CredentialsError, match=r"nothing .*ResourceNotFound.*GCP_CREDENTIALS_SECR"):
        secret("nothing").read(Deadline(60))


def test_a_service_that_is_down_is_unavailable(
    secret: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"gcp \(EndpointConnectionError\)"):
        secret("gcp").read(Deadline(10))


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function without a role."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_function_without_a_role_is_told_so(secret: Make, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("no_keys")
    with pytest.raises(SettingsError, match="give the function a role"):
        secret("gcp").read(Deadline(10))


FOUND = (200, b'{"SecretString": "found"}')


@pytest.mark.parametrize(
    "answer",
    [
        (400, b'{"__type": "com.amazon#ThrottlingException", "message": "slow down"}'),
        (400, b'{"__type": "ThrottlingException"}'),
        (500, b'{"__type": "InternalServiceError"}'),
        (503, b""),
        (200, b"no JSON"),
    ],
)
def test_what_may_pass_is_tried_again(
    secret: Make, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes]
) -> None:
    with answering(answer, answer, FOUND) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
        assert secret("gcp").read(Deadline(60)) == "found"
        assert service.asked == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"no JSON", b'{"SecretBinary": 7}', b'{"SecretString": 7}', b"{}", b"null"],
)
def test_a_malformed_response_is_told_and_not_quoted(
    secret: Make, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with answering((200, body)) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
        with pytest.raises(UnavailableError) as caught:
            secret("gcp").read(Deadline(60))
        assert re.fullmatch(
            r"Secrets Manager could not be asked for the secret gcp"
            r" \((its response is malformed|\w+Error)\)\. Try again\.",
            caught.value.message,
        )
        assert caught.value.__suppress_context__ or not caught.value.__context__
        assert service.asked == POLICY.attempts


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((403, b"<html>proxy</html>"), "403"),
        ((400, b'{"__type": "AccessDeniedException", "message": "no"}'), "AccessDeniedException"),
        ((400, b'{"__type": "DecryptionFailure", "message": "no"}'), "DecryptionFailure"),
    ],
)
def test_a_refusal_is_final_and_names_its_code(
    secret: Make, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes], code: str
) -> None:
    with answering(answer) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
        with pytest.raises(CredentialsError) as caught:
            secret("gcp").read(Deadline(60))
        assert service.asked == 1
    assert caught.value.message == (
        f"Secrets Manager did not give the secret gcp ({code}). Check the name in"
        " GCP_CREDENTIALS_SECRET, and that the function's role may secretsmanager:GetSecretValue it"
        " (and kms:Decrypt with its key, if it has one)."
    )
