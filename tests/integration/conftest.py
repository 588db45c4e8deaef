"""AWS as a server on loopback, which the code reaches over the network as in production."""

from collections.abc import Iterator

import pytest
from aws_server import moto_server


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    with moto_server() as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def aws(aws_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of AWS, and set the variables from which all AWS clients take it."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": aws_url,
    }.items():
        monkeypatch.setenv(name, value)
    return aws_url
