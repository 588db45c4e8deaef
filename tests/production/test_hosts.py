"""The host of each request in production, and the certificates that the function trusts.

The proxy refuses a request to an unknown host, or one without TLS, so its test fails.
"""

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, unquote

import pytest
import requests
from production.internet import (
    DESTINATION,
    DOTTED,
    REGION,
    SECRET,
    SOURCE,
    Internet,
    RecordedRequest,
)
from production.internet import watched_hosts as watched

import replicate.handler  # noqa: F401 - it sets environment variables
from replicate.aws_clients import AwsClients
from replicate.errors import SourceUnavailableError, UnavailableError
from replicate.gcs import GcsDestination
from replicate.gcs.secret import Secret
from replicate.gcs.trusted_hosts import TrustedHosts
from replicate.protocol.checksums import CommitGate
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import attributes
from replicate.protocol.model import Precondition, Replica, SourceRef
from replicate.retry import RetryPolicy
from replicate.s3 import S3Source
from replicate.wiring import Environment

ONCE = RetryPolicy(attempts=1)
GOOGLE = TrustedHosts(frozenset({"googleapis.com"}))
KEY = "a/ö b+c"
QUOTED = "a/%C3%B6%20b%2Bc"
ESCAPED = "a%2F%C3%B6%20b%2Bc"
"""In a path of GCS, the name of an object is one segment."""
SMALL, LARGE = SourceRef(SOURCE, KEY), SourceRef(SOURCE, "large")
LARGE_BYTES = 1024 * 1024 + 300 * 1024

S3_HOST = f"{SOURCE}.s3.{REGION}.amazonaws.com"
S3_PATH_HOST = f"s3.{REGION}.amazonaws.com"
SECRETS_HOST = f"secretsmanager.{REGION}.amazonaws.com"
GCS_HOST = "storage.googleapis.com"
TOKEN_HOST = "oauth2.googleapis.com"
STS_HOST = "sts.googleapis.com"
IAM_HOST = "iamcredentials.googleapis.com"
FULL_CONTROL = "https://www.googleapis.com/auth/devstorage.full_control"

BUCKET = f"https://{GCS_HOST}/storage/v1/b/{DESTINATION}"
UPLOADS = f"https://{GCS_HOST}/upload/storage/v1/b/{DESTINATION}/o"


@contextmanager
def build_environment(policy: RetryPolicy = ONCE) -> Iterator[Environment]:
    """Build the environment from the environment variables."""
    with closing(Environment.from_environ(os.environ, policy)) as environment:
        environment.deadline.restart(60)
        yield environment


class BrokenBody(Exception):  # noqa: N818 - not an error of the product
    """Ends an upload before its end."""


class BreakingBody(CommitGate):
    """A body that fails when it is read."""

    def readinto(self, buffer: memoryview) -> int:
        del buffer
        raise BrokenBody


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls every method of the two ports on one object."""

    environment: Environment

    @property
    def source(self) -> S3Source:
        return S3Source(
            self.environment.aws, self.environment.deadline, self.environment.retries, tags=True
        )

    @property
    def destination(self) -> GcsDestination:
        return self.environment.destination

    def head(self) -> object:
        return self.environment.source.head(SMALL)

    def head_dotted(self) -> object:
        return self.environment.source.head(SourceRef(DOTTED, KEY))

    def get(self) -> object:
        with self.environment.source.open(SMALL) as body:
            return body

    def tags(self) -> object:
        return self.source.head(SMALL)

    def reload(self) -> Replica | None:
        return self.destination.head(KEY)

    def write_small(self) -> object:
        return self.write(SMALL)

    def write_large(self) -> object:
        return self.write(LARGE)

    def cancel(self) -> object:
        with pytest.raises(BrokenBody):
            self.write(LARGE, BreakingBody)
        return True

    def write(self, ref: SourceRef, kind: type[CommitGate] = CommitGate) -> Replica:
        current = self.destination.head(ref.key)
        condition = Precondition.unchanged(current) if current else Precondition(0)
        with self.source.open(ref) as body:
            assert body
            described = attributes(body.object)
            return self.destination.write(ref.key, described, kind(body, self.source), condition)

    def patch(self) -> object:
        current = self.destination.head(KEY)
        assert current
        changed = replace(current.attributes, cache_control="no-store")
        return self.destination.patch(KEY, changed, current)

    def delete(self) -> object:
        current = self.destination.head(KEY)
        assert current
        self.destination.delete(KEY, Precondition.unchanged(current))
        return True

    def permissions(self) -> object:
        return self.destination.granted(["storage.objects.get"])


Journal = Mapping[str, list[RecordedRequest]]

ORDER = (
    ("reload", "token"),  # the first request to GCS needs a token, which needs the secret
    *(
        (name, name)
        for name in (
            "head",
            "head_dotted",
            "get",
            "tags",
            "write_small",
            "write_large",
            "cancel",
            "reload",
            "patch",
            "permissions",
            "delete",
        )
    ),
)


@pytest.fixture(scope="module")
def journal(internet: Internet, variables: pytest.MonkeyPatch) -> Journal:
    """Make every call once, and return the requests of each."""
    del variables
    internet.s3.put_object(Bucket=SOURCE, Key=KEY, Body=b"small", Tagging="a=b")
    internet.s3.put_object(Bucket=DOTTED, Key=KEY, Body=b"dotted")
    internet.s3.put_object(Bucket=SOURCE, Key="large", Body=bytes(LARGE_BYTES))
    journal: dict[str, list[RecordedRequest]] = {}
    with build_environment() as environment, watched() as hosts:
        calls = Calls(environment)
        for name, recorded_as in ORDER:
            before = [len(internet.aws.requests), len(internet.google.requests)]
            result = getattr(calls, name)()
            assert result or recorded_as == "token"
            journal[recorded_as] = [
                *internet.aws.requests[before[0] :],
                *internet.google.requests[before[1] :],
            ]
        time.sleep(0.5)  # for requests that a library may send in another thread
    assert hosts <= {"127.0.0.1"}
    return journal


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("token", f"POST https://{SECRETS_HOST}/"),
        ("token", f"POST https://{TOKEN_HOST}/token"),
        ("head", f"HEAD https://{S3_HOST}/{QUOTED}"),
        ("head_dotted", f"HEAD https://{S3_PATH_HOST}/{DOTTED}/{QUOTED}"),
        ("get", f"GET https://{S3_HOST}/{QUOTED}"),
        ("tags", f"GET https://{S3_HOST}/{QUOTED}?tagging"),
        ("reload", f"GET {BUCKET}/o/{ESCAPED}"),
        ("write_small", f"POST {UPLOADS}?uploadType=multipart"),
        ("write_large", f"POST {UPLOADS}?uploadType=resumable"),
        ("write_large", f"PUT {UPLOADS}?upload_id="),
        ("cancel", f"DELETE {UPLOADS}?upload_id="),
        ("patch", f"PATCH {BUCKET}/o/{ESCAPED}"),
        ("delete", f"DELETE {BUCKET}/o/{ESCAPED}"),
        ("permissions", f"GET {BUCKET}/iam/testPermissions"),
    ],
)
def test_call_goes_to_its_host_and_path(journal: Journal, call: str, expected: str) -> None:
    url, _, query = expected.partition("?")
    matching = [
        request for request in journal[call] if str(request) == url and query in request.target
    ]
    assert matching, [f"{request} {request.target}" for request in journal[call]]


ALLOWED = re.compile(
    "|".join(
        [
            rf"(HEAD|GET) https://{re.escape(S3_HOST)}/(large|{re.escape(QUOTED)})",
            rf"HEAD https://{re.escape(S3_PATH_HOST)}/{DOTTED}/{re.escape(QUOTED)}",
            rf"POST https://{re.escape(SECRETS_HOST)}/",
            rf"POST https://{re.escape(TOKEN_HOST)}/token",
            rf"(GET|PATCH|DELETE) {re.escape(BUCKET)}/o/({ESCAPED}|large)",
            rf"(POST|PUT|DELETE) {re.escape(UPLOADS)}",
            rf"GET {re.escape(BUCKET)}/iam/testPermissions",
        ]
    )
)


def test_no_other_request_is_sent(journal: Journal, internet: Internet) -> None:
    """This includes the threads of google-auth and google-cloud-storage."""
    assert journal
    assert [
        str(request) for request in internet.requests if not ALLOWED.fullmatch(str(request))
    ] == []


def test_no_other_host_is_contacted(journal: Journal, internet: Internet) -> None:
    assert journal
    assert internet.proxy.hosts == {
        f"{host}:443" for host in (S3_HOST, S3_PATH_HOST, SECRETS_HOST, TOKEN_HOST, GCS_HOST)
    }


def test_token_of_a_key_is_requested_with_the_full_control_scope(journal: Journal) -> None:
    (request,) = (request for request in journal["token"] if request.host == TOKEN_HOST)
    (assertion,) = parse_qs(request.body.decode())["assertion"]
    payload = assertion.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["scope"] == FULL_CONTROL
    assert claims["aud"] == f"https://{TOKEN_HOST}/token"


@pytest.mark.usefixtures("journal")
def test_token_is_sent_to_gcs_only_and_not_to_an_upload_session(internet: Internet) -> None:
    for request in internet.google.requests:
        is_of_session = "upload_id=" in request.target
        has_token = request.headers.get("authorization", "").startswith("Bearer ya29.")
        assert has_token == (request.host == GCS_HOST and not is_of_session), str(request)


@pytest.mark.parametrize("impersonate", [False, True])
def test_token_of_a_federation_is_requested_from_sts(
    internet: Internet, variables: pytest.MonkeyPatch, *, impersonate: bool
) -> None:
    del variables
    internet.store_secret(internet.federation(impersonate=impersonate))
    internet.clear_requests()
    with build_environment() as environment, watched() as hosts:
        for _ in range(2):
            assert environment.destination.head("nothing") is None
        time.sleep(0.5)
    others = [str(request) for request in internet.google.requests if request.host != GCS_HOST]
    wanted = [f"POST https://{STS_HOST}/v1/token"]
    if impersonate:
        account = "replicator@local-project.iam.gserviceaccount.com"
        path = f"/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        wanted.append(f"POST https://{IAM_HOST}{path}")
    assert others == wanted
    services = {STS_HOST, IAM_HOST} if impersonate else {STS_HOST}
    assert internet.proxy.hosts == {f"{host}:443" for host in (SECRETS_HOST, GCS_HOST, *services)}
    assert hosts <= {"127.0.0.1"}
    last = next(request for request in internet.google.requests if request.path in others[-1])
    assert FULL_CONTROL in unquote(last.body.decode())
    internet.store_secret(internet.key())


Distrust = Callable[[], None]


@pytest.fixture(params=["other-name", "other-authority", "no-bundle"])
def distrust(
    request: pytest.FixtureRequest, internet: Internet, variables: pytest.MonkeyPatch
) -> Iterator[Distrust]:
    """Return a function that makes every certificate untrusted."""
    with pytest.MonkeyPatch.context() as patch:

        def apply() -> None:
            if request.param == "no-bundle":
                for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
                    patch.delenv(name)
            else:
                internet.certificates.kind = request.param
            internet.cut()
            internet.clear_requests()

        del variables
        yield apply
    internet.certificates.kind = "right"
    internet.cut()


def test_no_request_is_sent_to_a_host_without_a_trusted_certificate(
    internet: Internet, distrust: Distrust
) -> None:
    internet.s3.put_object(Bucket=SOURCE, Key=KEY, Body=b"small", Tagging="a=b")
    with build_environment() as environment:
        assert environment.destination.head("nothing") is None  # now it has a token
        distrust()
        with closing(AwsClients(REGION, ONCE)) as clients:  # it reads the bundle when it is built
            with pytest.raises(SourceUnavailableError, match="SSL"):
                S3Source(clients, Deadline(60), ONCE).head(SMALL)
            with pytest.raises(UnavailableError, match="SSL"):
                Secret(
                    clients, SECRET, REGION, ONCE, TrustedHosts(frozenset({"googleapis.com"}))
                ).read(Deadline(60))
        with pytest.raises(UnavailableError, match="SSL"):
            environment.destination.head("nothing")
        with pytest.raises(requests.exceptions.SSLError):
            environment.gcs.uploads.put(f"https://{GCS_HOST}/upload", data=b"", timeout=10)
        credentials = environment.gcs.credentials
        credentials.token = None
        with pytest.raises(UnavailableError, match="SSL"):
            credentials.refresh(None)
    assert internet.requests == []
    assert internet.proxy.hosts == {
        f"{host}:443" for host in (S3_HOST, SECRETS_HOST, GCS_HOST, TOKEN_HOST)
    }
