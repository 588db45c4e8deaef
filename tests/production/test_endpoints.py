"""Settings of the SDKs that change hosts: FIPS, dual stack, other partitions and universes."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress

import pytest
from google.auth.credentials import Credentials
from production.internet import SECRET, SOURCE, Internet

import replicate.handler  # noqa: F401 - it sets environment variables
from replicate.aws_clients import AwsClients
from replicate.breaker import Circuit
from replicate.errors import ReplicationError
from replicate.gcs.client import GcsClient
from replicate.gcs.credentials import MAX_AGE_S, SecretCredentials
from replicate.gcs.secret import Secret
from replicate.gcs.trusted_hosts import TrustedHosts
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef
from replicate.retry import RetryPolicy
from replicate.s3 import S3Source
from replicate.wiring import Environment

ONCE = RetryPolicy(attempts=1)
REGION = "us-east-1"


@pytest.mark.parametrize(
    ("overrides", "s3", "secrets"),
    [
        ({}, f"{SOURCE}.s3.{REGION}.amazonaws.com", f"secretsmanager.{REGION}.amazonaws.com"),
        (
            {"AWS_USE_FIPS_ENDPOINT": "true"},
            f"{SOURCE}.s3-fips.{REGION}.amazonaws.com",
            f"secretsmanager-fips.{REGION}.amazonaws.com",
        ),
        (
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            f"{SOURCE}.s3.dualstack.{REGION}.amazonaws.com",
            f"secretsmanager.{REGION}.amazonaws.com",  # which has both stacks
        ),
        (
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
            f"{SOURCE}.s3-fips.dualstack.{REGION}.amazonaws.com",
            f"secretsmanager-fips.{REGION}.amazonaws.com",
        ),
        (
            {"AWS_REGION": "cn-north-1"},
            f"{SOURCE}.s3.cn-north-1.amazonaws.com.cn",
            "secretsmanager.cn-north-1.amazonaws.com.cn",
        ),
        (
            {
                "AWS_ENDPOINT_URL_S3": f"https://bucket.vpce-1.s3.{REGION}.vpce.amazonaws.com",
                "AWS_ENDPOINT_URL_SECRETS_MANAGER": (
                    f"https://vpce-2.secretsmanager.{REGION}.vpce.amazonaws.com"
                ),
            },
            f"bucket.vpce-1.s3.{REGION}.vpce.amazonaws.com",
            f"vpce-2.secretsmanager.{REGION}.vpce.amazonaws.com",
        ),
    ],
)
def test_aws_requests_go_to_the_configured_endpoint(
    internet: Internet,
    variables: pytest.MonkeyPatch,
    overrides: Mapping[str, str],
    s3: str,
    secrets: str,
) -> None:
    """Only the host matters here, not the response."""
    del variables
    internet.clear_requests()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in overrides.items():
            patch.setenv(name, value)
        region = overrides.get("AWS_REGION", REGION)
        with closing(AwsClients(region, ONCE)) as clients:
            with suppress(ReplicationError):
                S3Source(clients, Deadline(60), ONCE).head(SourceRef(SOURCE, "key"))
            with suppress(ReplicationError):
                Secret(clients, SECRET, region, ONCE, GOOGLE).read(Deadline(60))
    assert internet.proxy.hosts == {f"{s3}:443", f"{secrets}:443"}


GOOGLE = TrustedHosts(frozenset({"googleapis.com", "example.cloud"}))


@pytest.fixture
def universe(internet: Internet, variables: pytest.MonkeyPatch) -> Iterator[Internet]:
    """Return the internet, where another universe is trusted, and restore its secret."""
    internet.clear_requests()
    variables.setenv("GOOGLE_API_DOMAINS", "googleapis.com, example.cloud")
    yield internet
    variables.delenv("GOOGLE_API_DOMAINS")
    internet.store_secret(internet.key())


def test_key_of_another_universe_is_used_with_the_hosts_of_that_universe(
    universe: Internet,
) -> None:
    """The library signs a token with such a key, and sends no request to a token service."""
    universe.store_secret(universe.key() | {"universe_domain": "example.cloud"})
    with closing(Environment.from_environ(os.environ, ONCE)) as environment:
        environment.deadline.restart(60)
        with suppress(ReplicationError):  # the local server accepts only tokens that it issued
            environment.destination.head("nothing")
        assert environment.gcs.credentials.universe_domain == "example.cloud"
    assert {request.host for request in universe.google.requests} == {"storage.example.cloud"}
    (authorization, *_) = (request.headers["authorization"] for request in universe.google.requests)
    assert authorization.startswith("Bearer eyJ"), "a signed JWT"


def test_federation_of_another_universe_is_used_with_the_hosts_of_that_universe(
    universe: Internet,
) -> None:
    universe.store_secret(universe.federation("example.cloud"))
    with closing(Environment.from_environ(os.environ, ONCE)) as environment:
        environment.deadline.restart(60)
        assert environment.destination.head("nothing") is None
    assert {request.host for request in universe.google.requests} == {
        "sts.example.cloud",
        "storage.example.cloud",
    }


def test_client_is_rebuilt_when_the_secret_moves_to_another_universe(universe: Internet) -> None:
    now = 1000.0
    secret = json.dumps(universe.key())
    builder = Secret(AwsClients(REGION, ONCE), SECRET, REGION, ONCE, GOOGLE)

    class Rotated:
        def read(self, deadline: Deadline) -> str:
            del deadline
            return secret

        def credentials(self, text: str) -> Credentials:
            return builder.credentials(text)

    with closing(
        GcsClient(SecretCredentials(Rotated(), Deadline(60), ONCE, lambda: now), Circuit())
    ) as gcs:
        before = gcs.bucket("b").client
        assert before.api_endpoint == "https://storage.googleapis.com"
        assert gcs.bucket("b").client is before
        secret = json.dumps(json.loads(secret) | {"universe_domain": "example.cloud"})
        now += MAX_AGE_S
        assert gcs.bucket("b").client.api_endpoint == "https://storage.example.cloud"
