"""The Google credentials come from the secret, are renewed when needed, and are never logged."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NoReturn

import pytest
from canned import serve_responses
from google.auth import credentials as google_credentials
from google.auth.transport.requests import AuthorizedSession

from replicate.aws_clients import AwsClients
from replicate.errors import (
    CredentialsError,
    DestinationUnavailableError,
    OutOfTimeError,
    UnavailableError,
)
from replicate.gcs import credentials as gcs_credentials
from replicate.gcs.credentials import MAX_AGE_S, RECHECK_S, SecretCredentials
from replicate.gcs.secret import Secret
from replicate.gcs.trusted_hosts import TrustedHosts
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy
from tools.local.gcs import Fault, GcsServer

POLICY = RetryPolicy(attempts=1, io_timeout_s=10)
THREADS = 10


class FakeSecret:
    """A secret that can be changed or made to fail, and that counts how often it is read."""

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


class FakeClock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer(["replica"]) as server:
        yield server


LOCAL = TrustedHosts(frozenset({"googleapis.com"}), "http://127.0.0.1")

MakeSecret = Callable[..., FakeSecret]


@pytest.fixture(scope="module")
def make_secret() -> Iterator[MakeSecret]:
    """Return a function that makes secrets. Federations sign with the AWS keys of the function."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAFUNCTION")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        clients = AwsClients("eu-west-1", POLICY)
        builder = Secret(clients, "unused", "eu-west-1", POLICY, LOCAL)
        yield lambda value: FakeSecret(value, builder)
        clients.close()


class GcsCaller:
    """Sends requests to GCS in the way that google-cloud-storage does."""

    def __init__(self, server: GcsServer, secret: FakeSecret, clock: Callable[[], float]) -> None:
        self.secret = secret
        self._deadline = Deadline(60)
        self.credentials = SecretCredentials(secret, self._deadline, POLICY, clock)
        self._session = AuthorizedSession(self.credentials)
        self._url = f"{server.url}/storage/v1/b/replica/o"

    def request(self, seconds: float = 60) -> int:
        """Return the status of one request that has so many seconds."""
        self._deadline.restart(seconds)
        return self._session.get(self._url, timeout=10).status_code

    def token(self) -> str:
        """Send a request, and return the token with which it succeeded."""
        assert self.request() == 200
        return str(self.credentials.token)

    def close(self) -> None:
        self._session.close()
        self.credentials.close()


MakeCaller = Callable[..., GcsCaller]


@pytest.fixture
def make_caller(server: GcsServer) -> Iterator[MakeCaller]:
    callers: list[GcsCaller] = []

    def make(secret: FakeSecret, clock: Callable[[], float] = lambda: 1000.0) -> GcsCaller:
        callers.append(GcsCaller(server, secret, clock))
        return callers[-1]

    yield make
    for each in callers:
        each.close()


def count_requests(server: GcsServer, operation: str, status: int | None = None) -> int:
    return sum(
        r["operation"] == operation and status in {None, r["status"]} for r in server.requests()
    )


def test_secret_is_read_once_and_one_token_serves_many_requests(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    caller = make_caller(make_secret(server.create_key()))
    assert caller.token() == caller.token() == caller.token()
    assert caller.secret.reads == 1
    assert count_requests(server, "token") == 1


def test_old_secret_is_read_again_and_the_token_is_kept_when_it_is_unchanged(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    clock = FakeClock()
    caller = make_caller(make_secret(server.create_key()), clock)
    first = caller.token()
    clock.now += 15 * 60 - 1
    assert caller.token() == first
    assert caller.secret.reads == 1
    clock.now += 1
    assert caller.token() == caller.token() == first
    assert caller.secret.reads == 2


def test_token_is_replaced_when_a_changed_secret_is_read_again(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    clock = FakeClock()
    caller = make_caller(make_secret(server.create_key()), clock)
    first = caller.token()
    caller.secret.put(server.create_key())
    assert caller.token() == first
    clock.now += MAX_AGE_S
    assert caller.token() != first


def test_working_credentials_are_kept_during_an_outage_of_secrets_manager(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    clock = FakeClock()
    caller = make_caller(make_secret(server.create_key()), clock)
    token = caller.token()
    clock.now += MAX_AGE_S
    caller.secret.failure = UnavailableError("The secret could not be read.")
    assert caller.token() == caller.token() == token
    assert caller.secret.reads == 2, "the secret was read again with every request"
    clock.now += RECHECK_S - 1
    assert caller.token() == token
    assert caller.secret.reads == 2
    clock.now += 1
    assert caller.token() == token
    assert caller.secret.reads == 3
    caller.secret.failure = None
    caller.secret.put(server.create_key())
    clock.now += RECHECK_S
    assert caller.token() != token


def test_working_credentials_are_kept_when_the_recheck_times_out(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    """The recheck has only a part of the time of the invocation, so the run can continue."""
    clock = FakeClock()
    caller = make_caller(make_secret(server.create_key()), clock)
    token = caller.token()
    clock.now += MAX_AGE_S
    caller.secret.failure = OutOfTimeError("The time for reading ran out.")
    assert caller.token() == token


def test_recheck_has_less_time_than_the_invocation(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    deadlines: list[float] = []

    class Timed(FakeSecret):
        def read(self, deadline: Deadline) -> str:
            deadlines.append(deadline.remaining())
            return super().read(deadline)

    clock = FakeClock()
    builder = make_secret({})
    caller = make_caller(Timed(server.create_key(), builder), clock)  # type: ignore[arg-type]
    caller.token()
    clock.now += MAX_AGE_S
    caller.token()
    assert deadlines[0] > gcs_credentials.RECHECK_TIMEOUT_S >= deadlines[1]


FORBIDDEN = CredentialsError("Secrets Manager refused to read the secret (AccessDeniedException).")


def test_credentials_fail_when_the_recheck_is_denied(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    clock = FakeClock()
    caller = make_caller(make_secret(server.create_key()), clock)
    caller.token()
    caller.secret.failure = FORBIDDEN
    caller.token()
    clock.now += MAX_AGE_S
    for _ in range(2):
        with pytest.raises(CredentialsError, match="AccessDenied") as caught:
            caller.request()
        assert caught.value.from_aws
    caller.secret.failure = None
    assert caller.request() == 200


def test_credentials_fail_when_the_recheck_finds_a_malformed_secret(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    clock = FakeClock()
    caller = make_caller(make_secret(server.create_key()), clock)
    caller.token()
    caller.secret.put("no JSON")
    clock.now += MAX_AGE_S
    for _ in range(2):
        with pytest.raises(CredentialsError, match="not JSON"):
            caller.request()
    caller.secret.put(server.create_key())
    assert caller.request() == 200


def test_secret_is_read_at_once_when_the_token_is_refused(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    key = server.create_key()
    caller = make_caller(make_secret(key))
    refused = caller.token()
    server.revoke_key(key["private_key_id"])
    caller.secret.put(server.create_key())
    assert caller.token() != refused
    assert caller.secret.reads == 2
    assert count_requests(server, "token") == 2


def test_request_fails_when_the_token_is_refused_and_secrets_manager_is_down(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    key = server.create_key()
    caller = make_caller(make_secret(key))
    caller.token()
    server.revoke_key(key["private_key_id"])
    caller.secret.failure = UnavailableError("The secret could not be read.")
    with pytest.raises(CredentialsError, match="could not be read") as caught:
        caller.request()
    assert caught.value.from_aws, "it says nothing about Google"


def in_ten_threads(action: Callable[[], int]) -> list[int]:
    """Call `action` in ten threads that start together; return the results."""
    start = threading.Barrier(THREADS)

    def run(_: int) -> int:
        start.wait(10)
        return action()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_ten_cold_threads_read_the_secret_once_and_get_one_token(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    caller = make_caller(make_secret(server.create_key()))
    assert in_ten_threads(caller.request) == [200] * THREADS
    assert caller.secret.reads == 1
    assert count_requests(server, "token") == 1


def test_token_is_renewed_once_when_ten_threads_are_refused(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    caller = make_caller(make_secret(server.create_key()))
    caller.token()
    server.add_fault(Fault(operation="objects.list", status=401, times=THREADS, stall=0.2))
    assert in_ten_threads(caller.request) == [200] * THREADS
    assert count_requests(server, "objects.list", 401) == THREADS
    assert caller.secret.reads == 2
    assert count_requests(server, "token") == 2


def test_token_is_renewed_once_when_it_expires_for_ten_threads(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    caller = make_caller(make_secret(server.create_key()))
    first = caller.token()
    caller.credentials.expiry = datetime(2026, 1, 1)  # noqa: DTZ001 - google-auth has no zones
    assert in_ten_threads(caller.request) == [200] * THREADS
    assert caller.credentials.token != first
    assert caller.secret.reads == 1
    assert count_requests(server, "token") == 2


def test_failed_renewal_leaves_no_token(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    caller = make_caller(make_secret(server.create_key()))
    caller.token()
    server.add_fault(Fault(operation="objects.list", status=401))
    server.add_fault(Fault(operation="token", status=503))
    with pytest.raises(DestinationUnavailableError, match="503"):
        caller.request()
    assert caller.credentials.token is None
    server.clear_requests()
    assert caller.request() == 200
    assert count_requests(server, "objects.list", 401) == 0, "a request was sent without a token"


def test_request_has_a_token_while_another_thread_renews_it() -> None:
    started, proceed = threading.Event(), threading.Event()

    class Slow(google_credentials.Credentials):
        def refresh(self, request: object) -> None:
            del request
            if self.token:
                started.set()
                proceed.wait(5)
            self.token = "token"

    class SlowSecret:
        def read(self, deadline: Deadline) -> str:
            del deadline
            return ""

        def credentials(self, text: str) -> google_credentials.Credentials:
            del text
            return Slow()  # type: ignore[no-untyped-call]

    class Interrupted(SecretCredentials):
        """Another thread starts to renew the token just before it is written to the request."""

        def apply(self, headers: dict[str, str], token: str | None = None) -> None:
            other.start()
            started.wait(0.3)
            super().apply(headers, token)

    def refused() -> None:
        SecretCredentials.apply(credentials, {})
        credentials.refresh(None)

    credentials = Interrupted(SlowSecret(), Deadline(60), POLICY)
    other = threading.Thread(target=refused)
    credentials.refresh(None)
    headers: dict[str, str] = {}
    credentials.before_request(None, "GET", "", headers)
    proceed.set()
    other.join(5)
    credentials.close()
    assert headers["authorization"] == "Bearer token"


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test when any code sleeps."""

    def sleep(seconds: float) -> NoReturn:
        raise AssertionError(f"the code sleeps for {seconds} s")

    monkeypatch.setattr("time.sleep", sleep)


@pytest.mark.usefixtures("no_sleep")
@pytest.mark.parametrize(
    "response",
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
def test_failed_token_request_is_not_retried_by_the_library(
    server: GcsServer,
    make_secret: MakeSecret,
    make_caller: MakeCaller,
    kind: str,
    response: tuple[int, bytes],
) -> None:
    """The library does not know the deadline, so it must not repeat the request."""
    with serve_responses(response) as service:
        secret = (
            server.create_key() | {"token_uri": service.url}
            if kind == "key"
            else server.external_account() | {"token_url": service.url}
        )
        caller = make_caller(make_secret(secret))
        with pytest.raises(DestinationUnavailableError):
            caller.request()
        assert service.request_count == 1
        assert caller.secret.reads == 1


def test_destination_is_unavailable_when_the_token_service_is_down(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    caller = make_caller(
        make_secret(server.create_key() | {"token_uri": "http://127.0.0.1:9/token"})
    )
    with pytest.raises(DestinationUnavailableError, match=r"not be reached \(ConnectionError\)"):
        caller.request()


def test_token_request_ends_at_the_deadline(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    caller = make_caller(make_secret(server.create_key()))
    server.add_fault(Fault(operation="token", stall_response=10))
    with pytest.raises(DestinationUnavailableError, match="Timeout"):
        caller.request(1.5)


@pytest.mark.parametrize("url", ["https://[x", "ftp://host/token", "/token", "https://h:x/token"])
@pytest.mark.parametrize("kind", ["key", "federation"])
def test_credentials_error_is_raised_when_a_url_in_the_secret_is_invalid(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller, kind: str, url: str
) -> None:
    secret = (
        server.create_key() | {"token_uri": url}
        if kind == "key"
        else server.external_account() | {"token_url": url}
    )
    with pytest.raises(CredentialsError, match=r"its field token_ur[il] is not an https address"):
        make_caller(make_secret(secret)).request()


def test_error_for_a_revoked_key_does_not_contain_the_key(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    key = server.create_key()
    server.revoke_key(key["private_key_id"])
    caller = make_caller(make_secret(key))
    with pytest.raises(CredentialsError, match="invalid_grant") as caught:
        caller.request()
    assert caller.secret.reads == 2, "read once, and once more after the refusal of Google"
    assert not caught.value.from_aws
    assert_no_secret_in(caught.value, key)


def test_secret_is_read_again_when_its_key_is_replaced_before_the_first_use(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller
) -> None:
    old, new = server.create_key(), server.create_key()
    server.revoke_key(old["private_key_id"])
    caller = make_caller(make_secret(old))
    texts = iter([json.dumps(old), json.dumps(new)])
    read = caller.secret.read

    def rotated(deadline: Deadline) -> str:
        caller.secret.text = next(texts)
        return read(deadline)

    caller.secret.read = rotated  # type: ignore[method-assign]
    assert caller.request() == 200
    assert caller.secret.reads == 2


@pytest.mark.parametrize("impersonate", [False, True])
def test_federation_uses_the_aws_credentials_of_the_function(
    server: GcsServer, make_secret: MakeSecret, make_caller: MakeCaller, *, impersonate: bool
) -> None:
    """The keys are those that boto3 finds, not those of the configuration's credential source."""
    caller = make_caller(make_secret(server.external_account(impersonate=impersonate)))
    assert caller.request() == 200
    assert caller.credentials.kind == "federation configuration"
    assert count_requests(server, "sts.token") == 1
    assert count_requests(server, "iam.generateAccessToken") == impersonate


def assert_no_secret_in(error: BaseException, secret: dict[str, Any]) -> None:
    """Check that neither the error nor a cause that a traceback shows contains the secret."""
    shown = ""
    cause: BaseException | None = error
    while cause is not None:
        shown += f"{cause!r} {cause}"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    for name in ("private_key", "private_key_id"):
        for line in str(secret[name]).splitlines():
            assert line not in shown
