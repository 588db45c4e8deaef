"""Google's credentials: from the secret, renewed when they must be, and never told to anybody."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from canned import answering

from local.gcs import Fault, GcsServer
from replicate import gcp_secret
from replicate.aws_credentials import AwsKeys
from replicate.deadline import Deadline
from replicate.errors import CredentialsError, DestinationUnavailableError
from replicate.google_credentials import TTL_S, GoogleTokens

KEYS = AwsKeys("AKIAEXAMPLE", "aws-secret", "aws-token")


def aws_credentials() -> AwsKeys:
    return KEYS


Make = Callable[..., GoogleTokens]


def soon() -> Deadline:
    return Deadline(60)


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    with GcsServer(buckets=["replica"]) as server:
        yield server


class Vault:
    """A secret that can be changed or locked, and that counts how often it is read."""

    def __init__(self, value: object) -> None:
        self.value = json.dumps(value)
        self.locked = False
        self.reads = 0

    def read(self, deadline: Deadline) -> str:
        deadline.require()
        self.reads += 1
        if self.locked:
            raise CredentialsError("Secrets Manager could not be asked.")
        return self.value


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tokens() -> Iterator[Make]:
    made: list[GoogleTokens] = []

    def make(vault: Vault, clock: Callable[[], float] = lambda: 1000.0) -> GoogleTokens:
        made.append(
            GoogleTokens(
                vault.read,
                lambda secret: gcp_secret.credentials(secret, aws_credentials, "eu-west-1"),
                clock,
            )
        )
        return made[-1]

    yield make
    for google in made:
        google.close()


def grants(server: GcsServer) -> int:
    return sum(r["operation"] == "token" for r in server.requests())


def test_one_reading_of_the_secret_and_one_token_serve_many_requests(
    server: GcsServer,
    tokens: Make,
) -> None:
    vault = Vault(server.create_key())
    google = tokens(vault)
    before = grants(server)
    assert google.token(soon()) == google.token(soon()) == google.token(soon())
    assert vault.reads == 1
    assert grants(server) == before + 1


def test_after_a_while_the_secret_is_read_again_and_kept_if_it_is_the_same(
    server: GcsServer,
    tokens: Make,
) -> None:
    clock, vault = Time(), Vault(server.create_key())
    google = tokens(vault, clock)
    first = google.token(soon())
    clock.now += TTL_S
    assert google.token(soon()) == first
    assert vault.reads == 2
    vault.value = json.dumps(server.create_key())
    clock.now += TTL_S
    assert google.token(soon()) != first


def test_credentials_that_work_outlive_an_outage_of_secrets_manager(
    server: GcsServer, tokens: Make
) -> None:
    clock, vault = Time(), Vault(server.create_key())
    google = tokens(vault, clock)
    token = google.token(soon())
    clock.now += TTL_S
    vault.locked = True
    assert google.token(soon()) == google.token(soon()) == token
    assert vault.reads == 2, "asked once, and not again with every request"
    with pytest.raises(CredentialsError, match="could not be asked"):
        google.renew(token, soon())


def test_a_refused_token_makes_the_secret_be_read_at_once(
    server: GcsServer,
    tokens: Make,
) -> None:
    vault = Vault(server.create_key())
    google = tokens(vault)
    refused = google.token(soon())
    vault.value = json.dumps(server.create_key())
    assert google.renew(refused, soon()) != refused
    assert vault.reads == 2


def test_a_token_somebody_else_renewed_meanwhile_is_not_renewed_twice(
    server: GcsServer,
    tokens: Make,
) -> None:
    vault = Vault(server.create_key())
    google = tokens(vault)
    refused = google.token(soon())
    renewed = google.renew(refused, soon())
    assert google.renew(refused, soon()) == renewed
    assert vault.reads == 2


def test_a_renewal_that_failed_leaves_no_token_that_is_none(
    server: GcsServer, tokens: Make
) -> None:
    google = tokens(Vault(server.create_key()))
    refused = google.token(soon())
    server.add_fault(Fault(operation="token", status=503))
    with pytest.raises(DestinationUnavailableError, match="503"):
        google.renew(refused, soon())
    assert google.renew(refused, soon()) not in {refused, "None"}


@pytest.mark.parametrize(
    "answer",
    [
        (400, b'{"error": "server_error"}'),
        (400, b'{"error": "temporarily_unavailable", "error_description": "?"}'),
        *(
            (200, body)
            for body in (b"", b"[]", b"no JSON", b'{"access_token": "x", "expires_in": 1e99}')
        ),
        (429, b""),
    ],
)
def test_an_answer_that_may_pass_or_makes_no_sense_is_told_at_once(
    server: GcsServer, tokens: Make, answer: tuple[int, bytes]
) -> None:
    """No library sleeps over it: whether there is time for that is not its to know."""
    with answering(answer) as service:
        for secret in (
            server.create_key() | {"token_uri": service.url},
            server.external_account() | {"token_url": service.url},
        ):
            asked = service.asked
            with pytest.raises(DestinationUnavailableError):
                tokens(Vault(secret)).token(soon())
            assert service.asked == asked + 1


@pytest.mark.parametrize("url", ["https://[x", "ftp://host/token", "/token", "https://h:x/token"])
def test_a_url_that_is_none_is_the_secrets_fault(server: GcsServer, tokens: Make, url: str) -> None:
    with pytest.raises(CredentialsError, match="URL"):
        tokens(Vault(server.create_key() | {"token_uri": url})).token(soon())


def test_a_revoked_key_is_replaced_by_the_one_the_secret_holds_now(
    server: GcsServer,
    tokens: Make,
) -> None:
    key = server.create_key()
    vault = Vault(key)
    google = tokens(vault)
    old = google.token(soon())
    server.revoke_key(key["private_key_id"])
    vault.value = json.dumps(server.create_key())
    assert google.renew(old, soon()) != old


def test_a_key_that_google_does_not_know_is_said_without_the_key(
    server: GcsServer,
    tokens: Make,
) -> None:
    key = server.create_key()
    server.revoke_key(key["private_key_id"])
    vault = Vault(key)
    with pytest.raises(CredentialsError, match="invalid_grant") as caught:
        tokens(vault).token(soon())
    assert vault.reads == 2, "once, and once more because Google refused"
    assert_tells_nothing(caught.value, key)


@pytest.mark.parametrize("impersonate", [False, True])
def test_federation_works_with_the_functions_own_aws_credentials(
    server: GcsServer, tokens: Make, *, impersonate: bool
) -> None:
    """The configuration's own credential source needs variables that SnapStart does not set."""
    vault = Vault(server.external_account(impersonate=impersonate))
    assert tokens(vault).token(soon())


GOOD: dict[str, Any] = {
    "type": "service_account",
    "client_email": "a@b.iam.gserviceaccount.com",
    "private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWJ5dGVz\n-----END PRIVATE KEY-----\n",
    "token_uri": "http://127.0.0.1:9/token",
}
FEDERATED: dict[str, Any] = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/x",
    "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
    "token_url": "https://sts.googleapis.com/v1/token",
}


@pytest.mark.parametrize(
    ("secret", "field"),
    [
        ("", "not JSON"),
        ("c2VjcmV0LWJ5dGVz", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "type"),
        (json.dumps(GOOD | {"type": ["x"]}), "type"),
        (json.dumps(GOOD | {"type": "authorized_user"}), "type"),
        (json.dumps(GOOD | {"client_email": None}), "client_email"),
        (json.dumps(GOOD | {"private_key": ""}), "private_key"),
        (json.dumps(GOOD | {"private_key": 7}), "private_key"),
        (json.dumps(FEDERATED | {"service_account_impersonation": "x"}), "audience or token_url"),
        (json.dumps(GOOD), "private_key"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "token_uri"}), "token_uri"),
        (json.dumps(FEDERATED | {"audience": ""}), "audience"),
        (json.dumps(FEDERATED | {"subject_token_type": "jwt"}), "subject_token_type"),
    ],
)
def test_a_malformed_secret_names_the_field_and_never_its_content(secret: str, field: str) -> None:
    with pytest.raises(CredentialsError, match=field) as caught:
        gcp_secret.credentials(secret, aws_credentials, "eu-west-1")
    assert_tells_nothing(caught.value, GOOD | {"raw": "c2VjcmV0LWJ5dGVz"})


def assert_tells_nothing(error: BaseException, secret: dict[str, Any]) -> None:
    """Neither the error nor any cause that a traceback would show holds a secret value."""
    shown = ""
    cause: BaseException | None = error
    while cause is not None:
        shown += f"{cause!r} {cause}"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    for name in ("private_key", "private_key_id", "raw"):
        for line in str(secret.get(name, "\0")).splitlines():
            assert line not in shown
