"""Our GCS server's tokens: Google's own library gets them, and nobody else."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from contract.gcs_http import Gcs, Reply
from google.auth import aws, crypt, exceptions, jwt
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import service_account

from tools.local.gcs import Fault, GcsServer, keyring

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
AUTH = "https://www.googleapis.com/auth/"
READ_ONLY = f"{AUTH}devstorage.read_only"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    with GcsServer(["b"]) as server:
        yield server


@pytest.fixture(scope="module")
def key(server: GcsServer) -> dict[str, str]:
    return server.create_key()


@pytest.fixture
def refresh() -> Iterator[Request]:
    with requests.Session() as session:
        yield Request(session)


def signed(key: dict[str, str], **changes: object) -> str:
    """Return an assertion like google-auth's, with some claims changed."""
    now = int(time.time())
    claims = {
        "iss": key["client_email"],
        "aud": key["token_uri"],
        "iat": now,
        "exp": now + 3600,
        "scope": SCOPE,
        **changes,
    }
    token: bytes = jwt.encode(crypt.RSASigner.from_service_account_info(key), claims)
    return token.decode()


def grant(server: GcsServer, assertion: str, grant_type: str = BEARER) -> Reply:
    """Ask the token endpoint."""
    form = urlencode({"grant_type": grant_type, "assertion": assertion}).encode()
    return Gcs(server.url, "b", "").request("POST", "/token", body=form)


def bucket_status(server: GcsServer, token: str) -> int:
    """Return how a token is received."""
    return Gcs(server.url, "b", token).request("GET", "/storage/v1/b/b").status


def test_a_key_file_gets_a_token_that_works(
    server: GcsServer, key: dict[str, str], refresh: Request
) -> None:
    credentials = service_account.Credentials.from_service_account_info(key, scopes=[SCOPE])

    credentials.refresh(refresh)

    assert bucket_status(server, credentials.token) == 200


def test_an_assertion_for_our_own_endpoint_gets_a_token(
    server: GcsServer, key: dict[str, str]
) -> None:
    response = grant(server, signed(key)).json

    assert (response["token_type"], response["expires_in"]) == ("Bearer", 3600)
    assert bucket_status(server, response["access_token"]) == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://somewhere.example/token"},
        {"iss": "somebody@else.example"},
        {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600},
        {"iat": int(time.time()) + 3600, "exp": int(time.time()) + 7200},
        {"exp": int(time.time()) + 86400},
    ],
    ids=["audience", "issuer", "expired", "not yet", "too long"],
)
def test_claims_that_are_not_right_get_no_token(
    server: GcsServer, key: dict[str, str], changes: dict[str, Any]
) -> None:
    reply = grant(server, signed(key, **changes))

    assert (reply.status, reply.json["error"]) == (400, "invalid_grant")


def test_a_signature_by_another_key_gets_no_token(server: GcsServer, key: dict[str, str]) -> None:
    forged = {**server.create_key(), "private_key_id": key["private_key_id"]}

    for assertion in (signed(forged), signed({**key, "private_key_id": "unknown"}), "nonsense", ""):
        reply = grant(server, assertion)
        assert (reply.status, reply.json["error"]) == (400, "invalid_grant")


def test_a_scope_that_gives_no_access_gets_no_token(server: GcsServer, key: dict[str, str]) -> None:
    for scope in ("", "https://www.googleapis.com/auth/drive"):
        assert grant(server, signed(key, scope=scope)).json["error"] == "invalid_scope"


def test_a_scope_that_is_too_small_gets_no_access(server: GcsServer) -> None:
    reader, writer = (
        Gcs(server.url, "b", server.issue_token(f"{AUTH}devstorage.{scope}"))
        for scope in ("read_only", "read_write")
    )
    writer.media("x", b"data")

    assert [reply.status for reply in reads(reader)] == [200] * len(reads(reader))
    for reply in [*writes(reader), reader.patch("x", {})]:
        assert (reply.status, reply.json["error"]["errors"][0]["reason"]) == (
            403,
            "insufficientPermissions",
        )
        assert 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]
        assert f"{AUTH}devstorage.full_control" in reply.headers["WWW-Authenticate"]
    assert writer.download("x").body == b"data"


@pytest.mark.parametrize(
    "scope",
    [
        "devstorage.read_write",
        "devstorage.full_control",
        "cloud-platform",
        f"devstorage.read_only {AUTH}devstorage.full_control",
    ],
)
def test_a_scope_that_is_large_enough_gives_access(server: GcsServer, scope: str) -> None:
    gcs = Gcs(server.url, "b", server.issue_token(AUTH + scope))

    replies = [*writes(gcs), gcs.media("x", b"data"), *reads(gcs)]

    assert {reply.status for reply in replies} <= {200, 204}


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("devstorage.read_write", 403),
        ("devstorage.full_control", 200),
        ("cloud-platform", 200),
    ],
)
def test_a_change_of_metadata_needs_full_control(
    server: GcsServer, scope: str, status: int
) -> None:
    """The reference lists no smaller scope for objects.patch."""
    gcs = Gcs(server.url, "b", server.issue_token(AUTH + scope))
    gcs.media("x", b"data")

    assert gcs.patch("x", {"metadata": {"a": "b"}}).status == status


def test_a_scope_of_another_service_gives_no_access(server: GcsServer) -> None:
    gcs = Gcs(server.url, "b", server.issue_token(f"{AUTH}iam"))

    assert {reply.status for reply in reads(gcs)} == {403}


def test_a_fault_waits_for_a_request_whose_scope_is_large_enough(server: GcsServer) -> None:
    server.add_fault(Fault(operation="objects.insert", status=503))

    assert Gcs(server.url, "b", server.issue_token(READ_ONLY)).media("x", b"").status == 403
    assert Gcs(server.url, "b", server.issue_token()).media("x", b"").status == 503


def reads(gcs: Gcs) -> list[Reply]:
    """Read in every way there is."""
    bucket = f"/storage/v1/b/{gcs.bucket}"
    permissions = f"{bucket}/iam/testPermissions?permissions=storage.objects.create"
    paths = (bucket, permissions)
    return [
        *(gcs.request("GET", path) for path in paths),
        gcs.listing(),
        gcs.get("x"),
        gcs.download("x"),
    ]


def writes(gcs: Gcs) -> list[Reply]:
    """Write in every way there is, to an object that exists at the beginning."""
    start = {"uploadType": "resumable", "name": "x"}
    return [
        gcs.media("x", b"new"),
        gcs.multipart("x", b"new"),
        gcs.request("POST", gcs.uploads, query=start, body={}),
        gcs.compose("x", [{"name": "x"}]),
        gcs.rewrite("x", "x"),
        gcs.delete("x"),
    ]


def test_a_token_from_a_key_has_the_scope_of_its_assertion(
    server: GcsServer, key: dict[str, str]
) -> None:
    for scope, status in ((READ_ONLY, 403), (SCOPE, 200), (f"{READ_ONLY} {SCOPE}", 200)):
        token = grant(server, signed(key, scope=scope)).json["access_token"]
        assert Gcs(server.url, "b", token).media("x", b"").status == status


def test_another_grant_type_gets_no_token(server: GcsServer, key: dict[str, str]) -> None:
    assert grant(server, signed(key), "password").json["error"] == "unsupported_grant_type"


def test_a_revoked_key_is_worth_nothing_nor_are_its_tokens(server: GcsServer) -> None:
    key, other = server.create_key(), server.create_key()
    token = grant(server, signed(key)).json["access_token"]
    others_token = grant(server, signed(other)).json["access_token"]

    assert server.revoke_key(key["private_key_id"]) is True

    assert bucket_status(server, token) == 401
    assert grant(server, signed(key)).json["error"] == "invalid_grant"
    assert bucket_status(server, others_token) == 200
    assert server.revoke_key(key["private_key_id"]) is False


def test_a_key_can_be_had_over_http(server: GcsServer) -> None:
    admin = Gcs(server.url, "b", "")

    key = admin.request("POST", "/_local/keys").json

    assert key["type"] == "service_account"
    assert grant(server, signed(key)).status == 200
    token = admin.request("POST", "/_local/tokens").json["access_token"]
    assert bucket_status(server, token) == 200


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Basic abc", "Bearer "])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/storage/v1/b/b/o/x"),
        ("GET", "/download/storage/v1/b/b/o/x?alt=media"),
        ("POST", "/upload/storage/v1/b/b/o?uploadType=media&name=x"),
        ("POST", "/upload/storage/v1/b/b/o?uploadType=resumable&name=x"),
    ],
)
def test_without_a_token_there_is_no_access(
    server: GcsServer, header: str | None, method: str, path: str
) -> None:
    headers = {"Authorization": header} if header else {}

    with requests.request(method, server.url + path, headers=headers, timeout=10) as reply:
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
        assert reply.json()["error"]["code"] == 401


@pytest.mark.parametrize("header", ["Bearer nonsense", "Basic abc", "Bearer "])
def test_a_token_that_a_session_is_shown_has_to_be_good(server: GcsServer, header: str) -> None:
    session = f"{server.url}/upload/storage/v1/b/b/o?uploadType=resumable&upload_id=x"

    with requests.put(session, headers={"Authorization": header}, timeout=10) as reply:
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
        assert reply.json()["error"]["code"] == 401


def test_a_token_ends_after_its_time_and_the_library_gets_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with GcsServer(["b"], token_seconds=300) as server:
        credentials = service_account.Credentials.from_service_account_info(
            server.create_key(), scopes=[SCOPE]
        )
        with AuthorizedSession(credentials) as session:
            assert session.get(f"{server.url}/storage/v1/b/b").status_code == 200
            first = credentials.token
            assert bucket_status(server, first) == 200
            later = SimpleNamespace(time=lambda: time.time() + 300)
            monkeypatch.setattr(keyring, "time", later)
            assert bucket_status(server, first) == 401
            assert session.get(f"{server.url}/storage/v1/b/b").status_code == 200
            assert credentials.token != first


def test_the_token_endpoint_can_fail(
    server: GcsServer, key: dict[str, str], refresh: Request
) -> None:
    server.add_fault(Fault(operation="token", status=403))
    credentials = service_account.Credentials.from_service_account_info(key, scopes=[SCOPE])

    with pytest.raises(exceptions.RefreshError):
        credentials.refresh(refresh)
    credentials.refresh(refresh)
    assert [e["status"] for e in server.requests() if e["operation"] == "token"][-2:] == [403, 200]


@pytest.mark.parametrize(("scope", "status"), [(SCOPE, 200), (READ_ONLY, 403)])
@pytest.mark.parametrize("impersonate", [False, True])
def test_an_aws_identity_gets_a_token_without_any_key(
    server: GcsServer,
    refresh: Request,
    monkeypatch: pytest.MonkeyPatch,
    scope: str,
    status: int,
    *,
    impersonate: bool,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    configuration = server.external_account(impersonate=impersonate)
    credentials = aws.Credentials.from_info(configuration, scopes=[scope])

    credentials.refresh(refresh)

    assert bucket_status(server, credentials.token) == 200
    assert Gcs(server.url, "b", credentials.token).media("x", b"").status == status
    operations = [entry["operation"] for entry in server.requests()]
    assert "sts.token" in operations
    assert ("iam.generateAccessToken" in operations) is impersonate
    server.clear_requests()


@pytest.mark.parametrize(
    "changes",
    [
        {"subject_token": "nonsense"},
        {"subject_token": "%7B%22url%22%3A%22https%3A%2F%2Fsts.amazonaws.com%22%7D"},
        {"audience": "//iam.googleapis.com/projects/2"},
        {"grant_type": "password"},
    ],
    ids=str,
)
def test_an_exchange_that_proves_nothing_gets_no_token(
    server: GcsServer, changes: dict[str, str]
) -> None:
    reply = exchange(server, {"scope": SCOPE, **changes})

    assert (reply.status, reply.json["error"] in {"invalid_grant", "invalid_request"}) == (
        400,
        True,
    )


def test_an_exchange_names_a_scope(server: GcsServer) -> None:
    reply = exchange(server, {})

    assert (reply.status, reply.json["error"]) == (400, "invalid_request")
    assert "scope" in reply.json["error_description"]


def exchange(server: GcsServer, changes: dict[str, str]) -> Reply:
    """Ask the endpoint that exchanges an AWS identity for a token."""
    configuration = server.external_account()
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": configuration["audience"],
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token_type": configuration["subject_token_type"],
        **changes,
    }
    return Gcs(server.url, "b", "").request("POST", "/sts/token", body=urlencode(form).encode())


def test_impersonation_needs_a_token_with_its_scope(server: GcsServer) -> None:
    path = "/v1/projects/-/serviceAccounts/a@b.example:generateAccessToken"
    asked = {"scope": [SCOPE]}

    def status(token: str, body: dict[str, Any]) -> int:
        return Gcs(server.url, "b", token).request("POST", path, body=body).status

    assert status("nonsense", asked) == 401
    assert status(server.issue_token(SCOPE), asked) == 403
    for scope in ("iam", "cloud-platform"):
        token = server.issue_token(AUTH + scope)
        assert status(token, asked) == 200
        assert status(token, {}) == 400


def test_an_assertion_may_name_the_address_the_client_sees(
    server: GcsServer, key: dict[str, str]
) -> None:
    """A container knows the server by another name than the machine that fetched the key."""
    port = server.url.rpartition(":")[2]
    alias = f"http://localhost:{port}"
    form = urlencode({"grant_type": BEARER, "assertion": signed(key, aud=f"{alias}/token")})

    with requests.post(
        f"{server.url}/token",
        data=form,
        headers={"Host": f"localhost:{port}", "Content-Type": "application/x-www-form-urlencoded"},
        timeout=10,
    ) as reply:
        assert reply.status_code == 200
