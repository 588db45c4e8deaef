"""The secret, read over the network."""

from collections.abc import Iterator

import boto3
import pytest
from canned import answering

from replicate.aws_credentials import AwsKeys
from replicate.deadline import Deadline
from replicate.errors import CredentialsError
from replicate.secrets_manager import SecretsManager

KEYS = AwsKeys("AKIAEXAMPLE", "x", "token")


def aws_credentials() -> AwsKeys:
    return KEYS


@pytest.fixture
def secrets(aws: str) -> Iterator[SecretsManager]:
    made = SecretsManager(aws_credentials, "us-east-1", aws)
    yield made
    made.close()


def test_a_secret_is_read_by_name_or_arn_as_text_or_as_bytes(secrets: SecretsManager) -> None:
    client = boto3.client("secretsmanager")
    client.create_secret(Name="a/text", SecretString='{"ü": 1}')
    arn = client.create_secret(Name="bytes", SecretBinary=b'{"x": 1}')["ARN"]
    assert secrets.read("a/text", Deadline(60)) == '{"ü": 1}'
    assert secrets.read(arn, Deadline(60)) == '{"x": 1}'


def test_a_rotated_secret_is_read_as_it_is_now(secrets: SecretsManager) -> None:
    client = boto3.client("secretsmanager")
    client.create_secret(Name="rotated", SecretString="old")
    assert secrets.read("rotated", Deadline(60)) == "old"
    client.put_secret_value(SecretId="rotated", SecretString="new")
    assert secrets.read("rotated", Deadline(60)) == "new"


def test_a_secret_that_is_not_there_is_named_with_the_setting(secrets: SecretsManager) -> None:
    with pytest.raises(CredentialsError, match=r"nothing .*ResourceNotFound.*GCP_CREDENTIALS_SECR"):
        secrets.read("nothing", Deadline(60))


def test_a_service_that_is_down_is_said() -> None:
    nobody = SecretsManager(aws_credentials, "us-east-1", "http://127.0.0.1:9")
    with pytest.raises(CredentialsError, match="could not be asked"):
        nobody.read("gcp", Deadline(0.5))


THROTTLED = b'{"__type": "com.amazon#ThrottlingException", "message": "slow down"}'


def test_a_service_that_asks_for_patience_is_asked_again() -> None:
    with answering((400, THROTTLED), (200, b'{"SecretString": "found"}')) as service:
        secrets = SecretsManager(aws_credentials, "us-east-1", service.url)
        assert secrets.read("gcp", Deadline(60)) == "found"
        secrets.close()


@pytest.mark.parametrize("body", [b"", b"[]", b"no JSON", b'{"SecretBinary": "?"}', b"{}"])
def test_an_answer_that_makes_no_sense_is_told_and_not_quoted(body: bytes) -> None:
    with answering((200, body)) as service:
        secrets = SecretsManager(aws_credentials, "us-east-1", service.url)
        with pytest.raises(CredentialsError, match="makes no sense"):
            secrets.read("gcp", Deadline(1))
        secrets.close()


def test_a_refusal_that_is_no_json_is_told_by_its_status() -> None:
    with answering((403, b"<html>proxy</html>")) as service:
        secrets = SecretsManager(aws_credentials, "us-east-1", service.url)
        with pytest.raises(CredentialsError, match=r"\(403\)"):
            secrets.read("gcp", Deadline(60))
        assert service.asked == 1
        secrets.close()


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "https://secretsmanager.eu-west-1.amazonaws.com"),
        ("cn-north-1", "https://secretsmanager.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_without_an_endpoint_it_is_the_regions(region: str, host: str) -> None:
    assert SecretsManager(aws_credentials, region).url == host
