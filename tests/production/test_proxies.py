"""Objects are replicated through proxies and private endpoints."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from contract.gcs_http import Gcs
from production.conftest import environ
from production.internet import DESTINATION, REGION, SECRET, SOURCE, Internet, watched_hosts

import replicate.handler  # noqa: F401 - it sets environment variables
from replicate.protocol.model import SourceRef
from replicate.retry import RetryPolicy
from replicate.wiring import Environment

POLICY = RetryPolicy(attempts=1)
OBJECTS = {"small": b"small", "large": bytes(1024 * 1024 + 300 * 1024)}
"""One for each way of writing to GCS."""


def replicate_all(internet: Internet, bucket: str = SOURCE) -> None:
    """Replicate every object, and check the replicas without the proxy."""
    direct = Gcs(f"http://127.0.0.1:{internet.gcs.port}", DESTINATION, internet.gcs.issue_token())
    for name, data in OBJECTS.items():
        internet.s3.put_object(Bucket=bucket, Key=name, Body=data)
    with closing(Environment.from_environ(os.environ, POLICY)) as environment:
        environment.deadline.restart(60)
        replicator = environment.replicator()
        for name in OBJECTS:
            replicator.replicate(SourceRef(bucket, name))
    for name, data in OBJECTS.items():
        reply = direct.request(
            "GET", f"/storage/v1/b/{DESTINATION}/o/{name}", query={"alt": "media"}
        )
        assert reply.body == data
        direct.request("DELETE", f"/storage/v1/b/{DESTINATION}/o/{name}")


@pytest.mark.usefixtures("variables")
def test_every_request_goes_through_the_configured_proxy(internet: Internet) -> None:
    with watched_hosts() as hosts:
        replicate_all(internet)
    assert internet.proxy.hosts == {
        f"{SOURCE}.s3.{REGION}.amazonaws.com:443",
        f"secretsmanager.{REGION}.amazonaws.com:443",
        "oauth2.googleapis.com:443",
        "storage.googleapis.com:443",
    }
    assert hosts == {"127.0.0.1"}, "the proxy looks up names, not the function"


@pytest.fixture(scope="module")
def private() -> Iterator[Internet]:
    """Return both clouds at private endpoints: AWS at 127.0.0.1, Google at localhost."""
    internet = Internet(None)
    internet.create_bucket("private")
    yield internet
    internet.delete_bucket("private")
    internet.close()


@pytest.fixture
def endpoints(private: Internet, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Set the variables; return the host and port of each cloud."""
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environ(private).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{private.aws.port}")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"https://localhost:{private.google.port}")
    secret = f"{SECRET}-private"
    monkeypatch.setenv("GCP_CREDENTIALS_SECRET", secret)
    private.store_secret(private.key(f"https://localhost:{private.google.port}/token"), secret)
    private.clear_requests()
    return f"127.0.0.1:{private.aws.port}", f"localhost:{private.google.port}"


@pytest.mark.parametrize(
    ("no_proxy", "proxied"),
    [
        ("", (True, True)),
        ("127.0.0.1", (False, True)),
        ("localhost", (True, False)),
        ("localhost,127.0.0.1", (False, False)),
        ("elsewhere.example", (True, True)),
    ],
)
def test_no_proxy_is_respected_for_each_cloud(
    private: Internet,
    endpoints: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    no_proxy: str,
    proxied: tuple[bool, bool],
) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    replicate_all(private, "private")
    assert private.proxy.hosts == {
        host for host, through in zip(endpoints, proxied, strict=True) if through
    }
    for front in (private.aws, private.google):
        assert front.requests, "it received no request over TLS"
    assert {request.host for request in private.requests} == {*endpoints}
