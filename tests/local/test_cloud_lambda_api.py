"""The Invoke API responds as Lambda does."""

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tools.local.aws import ACCESS_KEY, ACCOUNT, REGION
from tools.local.lambda_api import LambdaApi
from tools.local.runtime import FunctionError

if TYPE_CHECKING:
    from botocore.client import BaseClient

ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:replicate"


@pytest.fixture
def api() -> Iterator[LambdaApi]:
    with closing(LambdaApi()) as running:
        yield running


@pytest.fixture
def client(api: LambdaApi) -> Iterator[Any]:
    found: BaseClient = boto3.client(
        "lambda",
        endpoint_url=api.url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ACCESS_KEY["AWS_SECRET_ACCESS_KEY"],
    )
    with closing(found) as running:
        yield running


def test_a_function_is_invoked_by_its_arn(api: LambdaApi, client: Any) -> None:  # noqa: ANN401 - boto3's
    with api.serving("replicate", lambda event: {"received": event}):
        response = client.invoke(FunctionName=ARN, Payload=b'{"large": "plan"}')
    assert response["Payload"].read() == b'{"received": {"large": "plan"}}'
    assert "FunctionError" not in response


def test_an_error_of_the_function_is_unhandled(api: LambdaApi, client: Any) -> None:  # noqa: ANN401 - boto3's
    def fail(event: object) -> None:
        raise FunctionError("TransientError", f"busy: {event}")

    with api.serving("replicate", fail):
        response = client.invoke(FunctionName=ARN, Payload=b"1")
    assert response["FunctionError"] == "Unhandled"
    body = b'{"errorType": "TransientError", "errorMessage": "busy: 1"}'
    assert response["Payload"].read() == body


def test_another_function_is_not_found(client: Any) -> None:  # noqa: ANN401 - boto3's
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName=ARN)
