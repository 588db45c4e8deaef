"""The content of the secret. An error names the malformed field and never its content."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from google.auth.aws import Credentials as FederatedCredentials
from google.oauth2.service_account import Credentials as KeyCredentials

from replicate.aws_clients import AwsClients
from replicate.errors import CredentialsError, ReplicationError, UnavailableError
from replicate.gcs.secret import SCOPES, Secret
from replicate.gcs.trusted_hosts import TrustedHosts
from replicate.protocol.deadline import Deadline
from replicate.retry import DEFAULT_POLICY, RetryPolicy
from tools.local.gcs.keyring import Keyring

KEY: dict[str, Any] = {
    "type": "service_account",
    "client_email": "a@b.iam.gserviceaccount.com",
    "private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWJ5dGVz\n-----END PRIVATE KEY-----\n",
    "token_uri": "http://127.0.0.1:9/token",
}
FEDERATION: dict[str, Any] = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/x",
    "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
    "token_url": "https://sts.googleapis.com/v1/token",
}
RAW = "c2VjcmV0LWJ5dGVz"


@pytest.fixture(scope="module")
def secret() -> Iterator[Secret]:
    clients = AwsClients("eu-west-1", DEFAULT_POLICY)
    trusted = TrustedHosts(frozenset({"googleapis.com", "example.cloud"}), "http://127.0.0.1:9")
    yield Secret(clients, "gcp", "eu-west-1", DEFAULT_POLICY, trusted)
    clients.close()


def without(info: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name != field}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "not JSON"),
        (RAW, "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "type"),
        (json.dumps(KEY | {"type": ["x"]}), "type"),
        (json.dumps(KEY | {"type": "authorized_user"}), "type"),
        (json.dumps(KEY | {"client_email": None}), "client_email"),
        (json.dumps(KEY | {"private_key": ""}), "private_key"),
        (json.dumps(KEY | {"private_key": 7}), "private_key"),
        (json.dumps(KEY), "private_key"),
        (json.dumps(without(KEY, "token_uri")), "token_uri"),
        (json.dumps(KEY | {"universe_domain": ""}), "universe_domain"),
        (json.dumps(KEY | {"universe_domain": None}), "universe_domain"),
        (json.dumps(FEDERATION | {"universe_domain": 7}), "universe_domain"),
        (json.dumps(FEDERATION | {"service_account_impersonation": "x"}), "audience or token_url"),
        (json.dumps(FEDERATION | {"audience": ""}), "audience"),
        (json.dumps(without(FEDERATION, "token_url")), "token_url"),
        (json.dumps(FEDERATION | {"subject_token_type": "jwt"}), "subject_token_type"),
    ],
)
def test_error_names_the_malformed_field_without_its_content(
    secret: Secret, text: str, field: str
) -> None:
    with pytest.raises(CredentialsError, match=field) as caught:
        secret.credentials(text)
    shown = repr(caught.value) + str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert RAW not in shown


def test_key_credentials_have_the_full_control_scope(secret: Secret) -> None:
    key = Keyring(3600).create_key("https://oauth2.googleapis.com")
    credentials = secret.credentials(json.dumps(key))
    assert isinstance(credentials, KeyCredentials)
    assert tuple(credentials.scopes) == SCOPES == (FULL_CONTROL,)
    assert credentials.universe_domain == "googleapis.com"


def test_federation_does_not_use_the_credential_source_of_the_secret(secret: Secret) -> None:
    source = {"environment_id": "aws1", "url": "http://169.254.169.254/"}
    for info in (FEDERATION, FEDERATION | {"credential_source": source}):
        credentials = secret.credentials(json.dumps(info))
        assert isinstance(credentials, FederatedCredentials)
        assert "credential_source" not in credentials.info
        assert tuple(credentials.scopes) == (FULL_CONTROL,)


FULL_CONTROL = "https://www.googleapis.com/auth/devstorage.full_control"


def test_credentials_have_the_universe_of_the_secret(secret: Secret) -> None:
    key = Keyring(3600).create_key("https://oauth2.example.cloud")
    for info in (key, FEDERATION):
        credentials = secret.credentials(json.dumps(info | {"universe_domain": "example.cloud"}))
        assert credentials.universe_domain == "example.cloud"


class Failing(AwsClients):
    """Clients of a Secrets Manager that raises this error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def client(self, *_: object) -> "Failing":  # type: ignore[override]
        return self

    def get_secret_value(self, **_: object) -> NoReturn:
        raise self._error


def refusal(status: int, code: str | None) -> ClientError:
    error = {"Code": code} if code else {}
    response: Any = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "GetSecretValue")


@pytest.mark.parametrize(
    ("error", "why", "timed_out"),
    [
        (ReadTimeoutError(endpoint_url="https://aws"), "ReadTimeoutError", True),
        (EndpointConnectionError(endpoint_url="https://aws"), "EndpointConnectionError", False),
        (refusal(500, "InternalServiceError"), "InternalServiceError", False),
        (refusal(503, None), "503", False),
        (refusal(400, "ThrottlingException"), "ThrottlingException", False),
        (refusal(400, "ExpiredTokenException"), "ExpiredTokenException", False),
    ],
    ids=str,
)
def test_secret_that_cannot_be_read_now_says_why(
    error: Exception,
    why: str,
    timed_out: bool,  # noqa: FBT001 - a parameter
) -> None:
    with pytest.raises(UnavailableError) as caught:
        read_from(Failing(error))
    assert caught.value.message == (
        f"The secret gcp could not be read from Secrets Manager ({why}). Try again."
    )
    assert caught.value.timed_out is timed_out


@pytest.mark.parametrize(
    ("error", "code"), [(refusal(400, "AccessDenied"), "AccessDenied"), (refusal(403, None), "403")]
)
def test_secret_that_may_not_be_read_says_what_to_allow(error: ClientError, code: str) -> None:
    with pytest.raises(ReplicationError) as caught:
        read_from(Failing(error))
    assert type(caught.value) is CredentialsError
    assert caught.value.message == (
        f"Secrets Manager refused to read the secret gcp ({code}). Check GcpCredentialsSecretArn"
        " (GCP_CREDENTIALS_SECRET). Allow the function's role secretsmanager:GetSecretValue on the"
        " secret, and kms:Decrypt on its KMS key, if it has one."
    )


def read_from(clients: AwsClients) -> str:
    policy = RetryPolicy(attempts=1)
    return Secret(clients, "gcp", "eu-west-1", policy, TrustedHosts(frozenset())).read(Deadline(60))
