"""What the secret may hold; what is wrong with it is said, and never what is in it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.aws import Credentials as FederatedCredentials
from google.oauth2.service_account import Credentials as KeyCredentials

from replicate.aws_clients import AwsClients
from replicate.errors import CredentialsError
from replicate.gcs.secret import SCOPES, Secret
from replicate.retry import DEFAULT_POLICY
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
    yield Secret(clients, "gcp", "eu-west-1", DEFAULT_POLICY)
    clients.close()


def without(info: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name != field}


NO_TYPE = "its field type is neither service_account nor external_account"


def missing(field: str) -> str:
    return f"its field {field} is missing or not a text"


def unreadable(field: str) -> str:
    return f"its {field} is not what Google's libraries can read"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is not JSON"),
        (RAW, "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", NO_TYPE),
        (json.dumps(KEY | {"type": ["x"]}), NO_TYPE),
        (json.dumps(KEY | {"type": "authorized_user"}), NO_TYPE),
        (json.dumps(KEY | {"client_email": None}), missing("client_email")),
        (json.dumps(KEY | {"private_key": ""}), missing("private_key")),
        (json.dumps(KEY | {"private_key": 7}), missing("private_key")),
        (json.dumps(KEY), unreadable("private_key")),
        (json.dumps(without(KEY, "token_uri")), missing("token_uri")),
        (json.dumps(KEY | {"universe_domain": ""}), missing("universe_domain")),
        (json.dumps(KEY | {"universe_domain": None}), missing("universe_domain")),
        (json.dumps(FEDERATION | {"universe_domain": 7}), missing("universe_domain")),
        (
            json.dumps(FEDERATION | {"service_account_impersonation": "x"}),
            unreadable("audience or token_url"),
        ),
        (json.dumps(FEDERATION | {"audience": ""}), missing("audience")),
        (json.dumps(without(FEDERATION, "token_url")), missing("token_url")),
        (
            json.dumps(FEDERATION | {"subject_token_type": "jwt"}),
            f"its field subject_token_type is not {FEDERATION['subject_token_type']}",
        ),
    ],
)
def test_a_malformed_secret_names_the_field_and_never_its_content(
    secret: Secret, text: str, problem: str
) -> None:
    with pytest.raises(CredentialsError) as caught:
        secret.credentials(text)
    assert caught.value.message == (
        f"The secret named by GCP_CREDENTIALS_SECRET cannot be used: {problem}. Store the service"
        " account key or the federation configuration as Google writes it."
    )
    shown = repr(caught.value) + str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert RAW not in shown


def test_a_key_gives_credentials_with_the_one_scope_that_is_needed(secret: Secret) -> None:
    key = Keyring(3600).create_key("https://oauth2.googleapis.com")
    made = secret.credentials(json.dumps(key))
    assert isinstance(made, KeyCredentials)
    assert tuple(made.scopes) == SCOPES == (FULL_CONTROL,)
    assert made.universe_domain == "googleapis.com"


def test_a_federation_needs_no_source_of_credentials_and_uses_none(secret: Secret) -> None:
    source = {"environment_id": "aws1", "url": "http://169.254.169.254/"}
    for info in (FEDERATION, FEDERATION | {"credential_source": source}):
        made = secret.credentials(json.dumps(info))
        assert isinstance(made, FederatedCredentials)
        assert "credential_source" not in made.info
        assert tuple(made.scopes) == (FULL_CONTROL,)


FULL_CONTROL = "https://www.googleapis.com/auth/devstorage.full_control"


def test_a_secret_of_another_universe_gives_credentials_of_it(secret: Secret) -> None:
    key = Keyring(3600).create_key("https://oauth2.example.cloud")
    for info in (key, FEDERATION):
        made = secret.credentials(json.dumps(info | {"universe_domain": "example.cloud"}))
        assert made.universe_domain == "example.cloud"
