"""Google's credentials: from the secret, renewed when they must be, and never told to anybody."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NoReturn

import pytest
from canned import answering
from google.auth import credentials as google_credentials
from google.auth.transport.requests import AuthorizedSession

from replicate.aws_clients import AwsClients
from replicate.errors import (
    CredentialsError,
    DestinationUnavailableError,
    OutOfTimeError,
    UnavailableError,
)
from replicate.gcs import credentials as product
from replicate.gcs.credentials import MAX_AGE_S, RECHECK_S, SecretCredentials
from replicate.gcs.secret import Secret
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy
from tools.local.gcs import Fault, GcsServer

POLICY = RetryPolicy(attempts=1, io_timeout_s=10)
THREADS = 10


class Vault:
    """A secret that can be changed, locked or forbidden, and that counts how often it is read."""

    def __init__(self, value: object, builder: Secret) -> None:
        self._builder = builder
        self.failure: Exception | None = None
        self.reads = 0
        self.text = ""
        self.put(value)

    def put(self, value: object) -> None:
        self.text = value if isinstance(value, str) else json.dumps(value)

    def read(self, deadline: Deadline) -> str:
        deadline.require()
        self.reads += 1
        if self.failure:
            raise self.failure
        return self.text

    def credentials(self, text: str) -> google_credentials.Credentials:
        return self._builder.credentials(text)


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer(["replica"]) as server:
        yield server


Open = Callable[..., Vault]


@pytest.fixture(scope="module")
def vault() -> Iterator[Open]:
    """Make secrets; their federations sign with the function's own AWS credentials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAFUNCTION")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        clients = AwsClients("eu-west-1", POLICY)
        builder = Secret(clients, "unused", "eu-west-1", POLICY)
        yield lambda value: Vault(value, builder)
        clients.close()


class Caller:
    """Sends requests to GCS as google-cloud-storage does."""

    def __init__(self, server: GcsServer, vault: Vault, clock: Callable[[], float]) -> None:
        self.vault = vault
        self.credentials = SecretCredentials(vault, POLICY, clock)
        self._session = AuthorizedSession(self.credentials)
        self._url = f"{server.url}/storage/v1/b/replica/o"

    def ask(self, deadline: Deadline | None = None) -> int:
        """Return the status of one request."""
        with self.credentials.within(deadline or Deadline(60)):
            return self._session.get(self._url, timeout=10).status_code

    def token(self) -> str:
        """Send a request, and return the token with which it succeeded."""
        assert self.ask() == 200
        return str(self.credentials.token)

    def close(self) -> None:
        self._session.close()
        self.credentials.close()


Make = Callable[..., Caller]


@pytest.fixture
def caller(server: GcsServer) -> Iterator[Make]:
    made: list[Caller] = []

    def make(vault: Vault, clock: Callable[[], float] = lambda: 1000.0) -> Caller:
        made.append(Caller(server, vault, clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


def count(server: GcsServer, operation: str, status: int | None = None) -> int:
    return sum(
        r["operation"] == operation and status in {None, r["status"]} for r in server.requests()
    )


def test_one_reading_and_one_token_serve_many_requests(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    google = caller(vault(server.create_key()))
    assert google.token() == google.token() == google.token()
    assert google.vault.reads == 1
    assert count(server, "token") == 1


def test_the_secret_is_read_again_when_it_is_old_and_its_token_kept_when_it_is_the_same(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    clock = Time()
    google = caller(vault(server.create_key()), clock)
    first = google.token()
    clock.now += MAX_AGE_S - 1
    assert google.token() == first
    assert google.vault.reads == 1
    clock.now += 1
    assert google.token() == google.token() == first
    assert google.vault.reads == 2


def test_a_changed_secret_replaces_the_token_when_it_is_read_again(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    clock = Time()
    google = caller(vault(server.create_key()), clock)
    first = google.token()
    google.vault.put(server.create_key())
    assert google.token() == first
    clock.now += MAX_AGE_S
    assert google.token() != first


def test_credentials_that_work_outlive_an_outage_of_secrets_manager(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    clock = Time()
    google = caller(vault(server.create_key()), clock)
    token = google.token()
    clock.now += MAX_AGE_S
    google.vault.failure = UnavailableError("Secrets Manager could not be asked.")
    assert google.token() == google.token() == token
    assert google.vault.reads == 2, "asked once, and not again with every request"
    clock.now += RECHECK_S - 1
    assert google.token() == token
    assert google.vault.reads == 2
    clock.now += 1
    assert google.token() == token
    assert google.vault.reads == 3
    google.vault.failure = None
    google.vault.put(server.create_key())
    clock.now += RECHECK_S
    assert google.token() != token


def test_reading_again_without_a_response_in_its_time_keeps_credentials_that_work(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    """The time for reading the secret again is a part of the invocation's: there is more left."""
    clock = Time()
    google = caller(vault(server.create_key()), clock)
    token = google.token()
    clock.now += MAX_AGE_S
    google.vault.failure = OutOfTimeError("The time for reading ran out.")
    assert google.token() == token


def test_reading_again_gets_less_time_than_the_invocation_has(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    given: list[float] = []

    class Timed(Vault):
        def read(self, deadline: Deadline) -> str:
            given.append(deadline.remaining())
            return super().read(deadline)

    clock = Time()
    builder = vault({})
    google = caller(Timed(server.create_key(), builder), clock)  # type: ignore[arg-type]
    google.token()
    clock.now += MAX_AGE_S
    google.token()
    assert given[0] > 50
    assert given[1] <= product.RECHECK_TIMEOUT_S


FORBIDDEN = CredentialsError("Secrets Manager did not give the secret (AccessDeniedException).")


def test_a_secret_that_is_gone_stops_working_when_it_is_read_again(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    clock = Time()
    google = caller(vault(server.create_key()), clock)
    google.token()
    google.vault.failure = FORBIDDEN
    google.token()
    clock.now += MAX_AGE_S
    for _ in range(2):
        with pytest.raises(CredentialsError, match="AccessDenied"):
            google.ask()
    google.vault.failure = None
    assert google.ask() == 200


def test_a_secret_that_became_malformed_stops_working_when_it_is_read_again(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    clock = Time()
    google = caller(vault(server.create_key()), clock)
    google.token()
    google.vault.put("no JSON")
    clock.now += MAX_AGE_S
    for _ in range(2):
        with pytest.raises(CredentialsError, match="not JSON"):
            google.ask()
    google.vault.put(server.create_key())
    assert google.ask() == 200


def test_a_refused_token_makes_the_secret_be_read_at_once(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    key = server.create_key()
    google = caller(vault(key))
    refused = google.token()
    server.revoke_key(key["private_key_id"])
    google.vault.put(server.create_key())
    assert google.token() != refused
    assert google.vault.reads == 2
    assert count(server, "token") == 2


def test_a_refused_token_needs_secrets_manager(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    key = server.create_key()
    google = caller(vault(key))
    google.token()
    server.revoke_key(key["private_key_id"])
    google.vault.failure = UnavailableError("Secrets Manager could not be asked.")
    with pytest.raises(CredentialsError, match="could not be asked"):
        google.ask()


def at_once(action: Callable[[], int]) -> list[int]:
    """Do the same in ten threads that start together."""
    start = threading.Barrier(THREADS)

    def run(_: int) -> int:
        start.wait(10)
        return action()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_ten_cold_threads_read_the_secret_once_and_get_one_token(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    google = caller(vault(server.create_key()))
    assert at_once(google.ask) == [200] * THREADS
    assert google.vault.reads == 1
    assert count(server, "token") == 1


def test_ten_threads_whose_token_is_refused_renew_it_once(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    google = caller(vault(server.create_key()))
    google.token()
    server.add_fault(Fault(operation="objects.list", status=401, times=THREADS, stall=0.2))
    assert at_once(google.ask) == [200] * THREADS
    assert count(server, "objects.list", 401) == THREADS
    assert google.vault.reads == 2
    assert count(server, "token") == 2


def test_ten_threads_whose_token_expired_renew_it_once(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    google = caller(vault(server.create_key()))
    first = google.token()
    google.credentials.expiry = datetime(2026, 1, 1)  # noqa: DTZ001 - google-auth has no zones
    assert at_once(google.ask) == [200] * THREADS
    assert google.credentials.token != first
    assert google.vault.reads == 1
    assert count(server, "token") == 2


def test_a_failed_renewal_leaves_no_token(server: GcsServer, vault: Open, caller: Make) -> None:
    google = caller(vault(server.create_key()))
    google.token()
    server.add_fault(Fault(operation="objects.list", status=401))
    server.add_fault(Fault(operation="token", status=503))
    with pytest.raises(DestinationUnavailableError, match="503"):
        google.ask()
    assert google.credentials.token is None
    server.clear_requests()
    assert google.ask() == 200
    assert count(server, "objects.list", 401) == 0, "a request was sent without a token"


def test_no_request_leaves_without_a_token_while_another_thread_renews_it() -> None:
    renewing, renew = threading.Event(), threading.Event()

    class Slow(google_credentials.Credentials):
        def refresh(self, request: object) -> None:
            del request
            if self.token:
                renewing.set()
                renew.wait(5)
            self.token = "token"

    class SlowSecret:
        def read(self, deadline: Deadline) -> str:
            del deadline
            return ""

        def credentials(self, text: str) -> google_credentials.Credentials:
            del text
            return Slow()  # type: ignore[no-untyped-call]

    class Interrupted(SecretCredentials):
        """Another thread begins to renew the token just before it is written to the request."""

        def apply(self, headers: dict[str, str], token: str | None = None) -> None:
            other.start()
            renewing.wait(0.3)
            super().apply(headers, token)

    def refused() -> None:
        SecretCredentials.apply(credentials, {})
        credentials.refresh(None)

    credentials = Interrupted(SlowSecret(), POLICY)
    other = threading.Thread(target=refused)
    credentials.refresh(None)
    headers: dict[str, str] = {}
    credentials.before_request(None, "GET", "", headers)
    renew.set()
    other.join(5)
    credentials.close()
    assert headers["authorization"] == "Bearer token"


@pytest.fixture
def sleepless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody sleep."""

    def sleep(seconds: float) -> NoReturn:
        raise AssertionError(f"somebody sleeps for {seconds} s")

    monkeypatch.setattr("time.sleep", sleep)


@pytest.mark.usefixtures("sleepless")
@pytest.mark.parametrize(
    "answer",
    [
        (400, b'{"error": "server_error"}'),
        (400, b'{"error": "internal_failure"}'),
        (400, b'{"error": "temporarily_unavailable", "error_description": "?"}'),
        *(
            (200, body)
            for body in (b"", b"[]", b"no JSON", b'{"access_token": "x", "expires_in": 1e99}')
        ),
        (200, b'{"access_token": "x", "expires_in": "soon"}'),
        (408, b""),
        (429, b""),
        (503, b"<html>"),
    ],
)
@pytest.mark.parametrize("kind", ["key", "federation"])
def test_a_malformed_or_transient_response_of_the_token_service_is_raised_at_once(
    server: GcsServer, vault: Open, caller: Make, kind: str, answer: tuple[int, bytes]
) -> None:
    """No library repeats the request: whether there is time for that is not its to know."""
    with answering(answer) as service:
        secret = (
            server.create_key() | {"token_uri": service.url}
            if kind == "key"
            else server.external_account() | {"token_url": service.url}
        )
        google = caller(vault(secret))
        with pytest.raises(DestinationUnavailableError) as caught:
            google.ask()
        status, _ = answer
        transient = f"Google's token service failed ({status}). Try again."
        malformed = "The response of Google's token service is malformed. Try again."
        unreadable = "Google's token service failed. Try again."
        assert caught.value.message in {malformed if status == 200 else transient, unreadable}
        assert service.asked == 1
        assert google.vault.reads == 1


def test_a_token_service_that_is_down_is_unavailable(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    google = caller(vault(server.create_key() | {"token_uri": "http://127.0.0.1:9/token"}))
    with pytest.raises(DestinationUnavailableError) as caught:
        google.ask()
    assert caught.value.message == (
        "Google's token service could not be reached (ConnectionError). Try again."
    )


def test_a_request_for_a_token_waits_no_longer_than_the_invocation_has(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    google = caller(vault(server.create_key()))
    server.add_fault(Fault(operation="token", stall_answer=10))
    with pytest.raises(DestinationUnavailableError, match="Timeout"):
        google.ask(Deadline(1.5))


@pytest.mark.parametrize("url", ["https://[x", "ftp://host/token", "/token", "https://h:x/token"])
@pytest.mark.parametrize("kind", ["key", "federation"])
def test_an_invalid_url_is_the_secrets_fault(
    server: GcsServer, vault: Open, caller: Make, kind: str, url: str
) -> None:
    secret = (
        server.create_key() | {"token_uri": url}
        if kind == "key"
        else server.external_account() | {"token_url": url}
    )
    with pytest.raises(CredentialsError) as caught:
        caller(vault(secret)).ask()
    problem, advice = caught.value.message.split(". ")
    assert problem.startswith("The secret named by GCP_CREDENTIALS_SECRET cannot be used: it")
    if "token_url" not in problem:  # google-auth examines that of a federation before it is used
        assert problem.endswith(": it has an invalid URL")
        assert advice == "Store the key or the configuration as Google writes it."


def test_a_key_that_google_does_not_know_is_named_without_the_key(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    key = server.create_key()
    server.revoke_key(key["private_key_id"])
    google = caller(vault(key))
    with pytest.raises(CredentialsError) as caught:
        google.ask()
    assert caught.value.message == (
        "Google does not accept the credentials in the secret (invalid_grant). Check that the key"
        " exists and is enabled, or the federation's pool and provider."
    )
    assert google.vault.reads == 2, "once, and once more because Google refused"
    assert_tells_nothing(caught.value, key)


def test_a_key_that_was_replaced_before_its_first_use_is_read_once_more(
    server: GcsServer, vault: Open, caller: Make
) -> None:
    old, new = server.create_key(), server.create_key()
    server.revoke_key(old["private_key_id"])
    google = caller(vault(old))
    texts = iter([json.dumps(old), json.dumps(new)])
    read = google.vault.read

    def rotated(deadline: Deadline) -> str:
        google.vault.text = next(texts)
        return read(deadline)

    google.vault.read = rotated  # type: ignore[method-assign]
    assert google.ask() == 200
    assert google.vault.reads == 2


@pytest.mark.parametrize("impersonate", [False, True])
def test_federation_works_with_the_functions_own_aws_credentials(
    server: GcsServer, vault: Open, caller: Make, *, impersonate: bool
) -> None:
    """The configuration's own credential source needs variables that SnapStart does not set."""
    google = caller(vault(server.external_account(impersonate=impersonate)))
    assert google.ask() == 200
    assert google.credentials.kind == "federation configuration"
    assert count(server, "sts.token") == 1
    assert count(server, "iam.generateAccessToken") == impersonate


def assert_tells_nothing(error: BaseException, secret: dict[str, Any]) -> None:
    """Neither the error nor any cause that a traceback would show holds a secret value."""
    shown = ""
    cause: BaseException | None = error
    while cause is not None:
        shown += f"{cause!r} {cause}"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    for name in ("private_key", "private_key_id"):
        for line in str(secret[name]).splitlines():
            assert line not in shown
