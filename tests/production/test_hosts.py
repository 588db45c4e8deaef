"""Where each request goes in production, and which certificates the function trusts.

A request to an unknown host, or without TLS, ends at the proxy and fails its test.
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
from production.internet import DESTINATION, DOTTED, REGION, SECRET, SOURCE, Internet, Seen
from production.internet import watched_hosts as watched

import replicate.handler  # noqa: F401 - the way in: it sets variables
from replicate.aws_clients import AwsClients
from replicate.errors import SourceUnavailableError, UnavailableError
from replicate.gcs import GcsDestination
from replicate.gcs.secret import Secret
from replicate.protocol.checksums import CommitGate
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import attributes
from replicate.protocol.model import Precondition, Replica, SourceRef
from replicate.retry import RetryPolicy
from replicate.s3 import S3Source
from replicate.wiring import Environment

ONCE = RetryPolicy(attempts=1)
KEY = "a/ö b+c"
QUOTED = "a/%C3%B6%20b%2Bc"
ESCAPED = "a%2F%C3%B6%20b%2Bc"
"""GCS has the name of an object in one segment of the path."""
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
def deployed(policy: RetryPolicy = ONCE) -> Iterator[Environment]:
    """Build the function as Lambda's environment variables say."""
    with closing(Environment.from_environ(os.environ, policy)) as made:
        made.deadline.restart(60)
        yield made


class BrokenBody(Exception):  # noqa: N818 - not an error of the product
    """Ends an upload in its middle."""


class Breaking(CommitGate):
    """A body that breaks off when it is read."""

    def readinto(self, buffer: memoryview) -> int:
        del buffer
        raise BrokenBody


@dataclass(frozen=True, slots=True)
class Calls:
    """Every call of the two ports, one after the other, on one object."""

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
            self.write(LARGE, Breaking)
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


Journal = Mapping[str, list[Seen]]

ORDER = (
    ("reload", "token"),  # the first request to GCS needs a token, and that the secret
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
    found: dict[str, list[Seen]] = {}
    with deployed() as environment, watched() as hosts:
        calls = Calls(environment)
        for name, recorded_as in ORDER:
            before = [len(internet.aws.seen), len(internet.google.seen)]
            result = getattr(calls, name)()
            assert result or recorded_as == "token"
            found[recorded_as] = [
                *internet.aws.seen[before[0] :],
                *internet.google.seen[before[1] :],
            ]
        time.sleep(0.5)  # for what a library may do in a thread of its own
    assert hosts <= {"127.0.0.1"}
    return found


@pytest.mark.parametrize(
    ("call", "request_"),
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
def test_a_call_goes_to_its_host_and_path(journal: Journal, call: str, request_: str) -> None:
    wanted, _, query = request_.partition("?")
    found = [seen for seen in journal[call] if str(seen) == wanted and query in seen.target]
    assert found, [f"{seen} {seen.target}" for seen in journal[call]]


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


def test_nothing_else_is_requested(journal: Journal, internet: Internet) -> None:
    """Not by any library's thread either: google-auth has one, google-cloud-storage another."""
    assert journal
    assert [str(seen) for seen in internet.seen if not ALLOWED.fullmatch(str(seen))] == []


def test_no_other_host_is_contacted(journal: Journal, internet: Internet) -> None:
    assert journal
    assert internet.proxy.hosts == {
        f"{host}:443" for host in (S3_HOST, S3_PATH_HOST, SECRETS_HOST, TOKEN_HOST, GCS_HOST)
    }


def test_a_keys_token_is_requested_with_the_one_scope_that_is_needed(journal: Journal) -> None:
    (request,) = (seen for seen in journal["token"] if seen.host == TOKEN_HOST)
    (assertion,) = parse_qs(request.body.decode())["assertion"]
    claims = assertion.split(".")[1]
    told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert told["scope"] == FULL_CONTROL
    assert told["aud"] == f"https://{TOKEN_HOST}/token"


@pytest.mark.usefixtures("journal")
def test_a_token_goes_to_gcs_only_and_not_to_the_address_of_a_session(internet: Internet) -> None:
    for seen in internet.google.seen:
        is_of_session = "upload_id=" in seen.target
        has_token = seen.headers.get("authorization", "").startswith("Bearer ya29.")
        assert has_token == (seen.host == GCS_HOST and not is_of_session), str(seen)


@pytest.mark.parametrize("impersonate", [False, True])
def test_a_federations_token_is_requested_from_sts(
    internet: Internet, variables: pytest.MonkeyPatch, *, impersonate: bool
) -> None:
    del variables
    internet.store_secret(internet.federation(impersonate=impersonate))
    internet.forget()
    with deployed() as environment, watched() as hosts:
        for _ in range(2):
            assert environment.destination.head("nothing") is None
        time.sleep(0.5)
    asked = [str(seen) for seen in internet.google.seen if seen.host != GCS_HOST]
    wanted = [f"POST https://{STS_HOST}/v1/token"]
    if impersonate:
        account = "replicator@local-project.iam.gserviceaccount.com"
        path = f"/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        wanted.append(f"POST https://{IAM_HOST}{path}")
    assert asked == wanted
    services = {STS_HOST, IAM_HOST} if impersonate else {STS_HOST}
    assert internet.proxy.hosts == {f"{host}:443" for host in (SECRETS_HOST, GCS_HOST, *services)}
    assert hosts <= {"127.0.0.1"}
    last = next(seen for seen in internet.google.seen if seen.path in asked[-1])
    assert FULL_CONTROL in unquote(last.body.decode())
    internet.store_secret(internet.key())


Untrusted = Callable[[], None]


@pytest.fixture(params=["other-name", "other-authority", "no-bundle"])
def untrusted(
    request: pytest.FixtureRequest, internet: Internet, variables: pytest.MonkeyPatch
) -> Iterator[Untrusted]:
    """Return what makes every certificate one that the function must not trust."""
    with pytest.MonkeyPatch.context() as patch:

        def become() -> None:
            if request.param == "no-bundle":
                for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
                    patch.delenv(name)
            else:
                internet.certificates.kind = request.param
            internet.cut()
            internet.forget()

        del variables
        yield become
    internet.certificates.kind = "right"
    internet.cut()


def test_nobody_without_a_trusted_certificate_for_the_host_gets_a_request(
    internet: Internet, untrusted: Untrusted
) -> None:
    internet.s3.put_object(Bucket=SOURCE, Key=KEY, Body=b"small", Tagging="a=b")
    with deployed() as environment:
        assert environment.destination.head("nothing") is None  # now it has a token
        untrusted()
        with closing(AwsClients(REGION, ONCE)) as clients:  # reads the bundle when it is built
            with pytest.raises(SourceUnavailableError, match="SSL"):
                S3Source(clients, Deadline(60), ONCE).head(SMALL)
            with pytest.raises(UnavailableError, match="SSL"):
                Secret(clients, SECRET, REGION, ONCE).read(Deadline(60))
        with pytest.raises(UnavailableError, match="SSL"):
            environment.destination.head("nothing")
        with pytest.raises(requests.exceptions.SSLError):
            environment.gcs.uploads.put(f"https://{GCS_HOST}/upload", data=b"", timeout=10)
        credentials = environment.gcs.credentials
        credentials.token = None
        with pytest.raises(UnavailableError, match="SSL"), credentials.within(Deadline(60)):
            credentials.refresh(None)
    assert internet.seen == []
    assert internet.proxy.hosts == {
        f"{host}:443" for host in (S3_HOST, SECRETS_HOST, GCS_HOST, TOKEN_HOST)
    }
