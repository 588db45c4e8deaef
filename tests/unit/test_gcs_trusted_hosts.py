"""Addresses in the secret: who may write it must not choose who gets the function's tokens."""

import pytest

from replicate.gcs.trusted_hosts import TrustedHosts

GOOGLE = TrustedHosts(frozenset({"googleapis.com"}))
PRIVATE = TrustedHosts(frozenset({"googleapis.com", "example.cloud", "sts.corp.example"}))

IMPERSONATION = (
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
    "replica@project.iam.gserviceaccount.com:generateAccessToken"
)
GOOD = [
    "https://oauth2.googleapis.com/token",
    "https://STS.googleapis.com/v1/token",
    "https://sts.googleapis.com:443/v1/token",
    "https://sts-psc.p.googleapis.com/v1/token",
    "https://www.googleapis.com/oauth2/v4/token",
    IMPERSONATION,
]
BAD = [
    "http://oauth2.googleapis.com/token",
    "https://evil.example/token",
    "https://googleapis.com.evil.example/token",
    "https://evilgoogleapis.com/token",
    "https://sts.googleapis.com@evil.example/token",
    "https://evil.example\\@sts.googleapis.com/token",
    "https://evil.example#.googleapis.com/token",
    "https://evil.example/?.googleapis.com",
    "https://[::1]/token",
    "https://127.0.0.1/token",
    "https://sts.googleapis.com/to\nken",
    "//sts.googleapis.com/token",
    "file:///etc/passwd",
    "https://storage.googleapis.com/upload/storage/v1/b/evil/o?uploadType=media&name=token",
    "https://storage.googleapis.com/evil/v1/token",
    "https://evil.storage.googleapis.com/v1/token?uploads",
    "https://sts.googleapis.com/v1/token/../../evil",
    "https://sts.googleapis.com",
    "",
]
FIELDS = ["token_uri", "token_url", "service_account_impersonation_url"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("url", GOOD)
def test_address_of_google_is_trusted_in_every_field(url: str, field: str) -> None:
    assert GOOGLE.problem({field: url}) is None


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("url", BAD)
def test_other_address_is_not_trusted_and_not_quoted(url: str, field: str) -> None:
    problem = GOOGLE.problem({field: url})
    assert problem is not None
    assert field in problem
    assert "evil" not in problem


def test_listed_domains_are_trusted_too() -> None:
    for url in ("https://sts.example.cloud/v1/token", "https://sts.corp.example/v1/token"):
        assert GOOGLE.problem({"token_url": url})
        assert PRIVATE.problem({"token_url": url}) is None
    assert PRIVATE.problem({"token_url": "https://corp.example/v1/token"}) == (
        "its field token_url is not an https address of a token service in the domains that"
        " GoogleApiDomains (GOOGLE_API_DOMAINS) lists: example.cloud, googleapis.com,"
        " sts.corp.example"
    )


def test_secret_does_not_choose_its_universe() -> None:
    assert GOOGLE.problem({"universe_domain": "googleapis.com"}) is None
    assert "GOOGLE_API_DOMAINS" in (GOOGLE.problem({"universe_domain": "evil.example"}) or "")
    assert PRIVATE.problem({"universe_domain": "example.cloud"}) is None


@pytest.mark.parametrize(
    ("emulator", "url", "is_trusted"),
    [
        ("http://127.0.0.1:4443", "http://127.0.0.1:9000/token", True),
        ("http://127.0.0.1:4443", "http://10.0.0.1:9000/token", False),
        ("http://127.0.0.1:4443", "http://oauth2.googleapis.com/token", False),
        ("https://storage.corp.example", "https://storage.corp.example/token", True),
        ("https://storage.corp.example", "http://storage.corp.example/token", False),
        ("", "http://127.0.0.1:9000/token", False),
    ],
)
def test_plain_http_needs_an_emulator_at_the_same_host(
    emulator: str, url: str, *, is_trusted: bool
) -> None:
    trusted = TrustedHosts(frozenset({"googleapis.com"}), emulator)
    assert (trusted.problem({"token_uri": url}) is None) is is_trusted


def test_field_that_is_null_or_absent_is_no_problem() -> None:
    assert GOOGLE.problem({"service_account_impersonation_url": None}) is None
    assert GOOGLE.problem({}) is None
