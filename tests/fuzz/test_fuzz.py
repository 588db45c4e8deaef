"""The function handles or rejects any input without a crash, a stack trace or a hang."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fuzz import inputs
from fuzz.inputs import Json, as_sent_by_lambda
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory import Context, Everything, MemoryStores

from replicate.errors import BatchFailedError, InternalError, InvalidEventError
from replicate.handler import Function
from replicate.protocol.model import SourceRef

BUCKETS = ("source", "my-source-bucket")
STATUSES = {200, 201, 400, 403, 404, 405, 409, 413, 415, 429, 502, 503, 504}
"""The statuses in docs/openapi.json, except for 500, which is for settings and defects."""

often = settings(
    max_examples=200,
    deadline=timedelta(seconds=60),  # a busy machine once took 24 s for what takes 2 ms
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def function() -> Function:
    """Return a function over stores in memory with one object per bucket."""
    stores = MemoryStores(environ={"REPLICATE_DELETES": "true"}, scope=Everything())
    for bucket in BUCKETS:
        stores.s3.put(SourceRef(bucket, "key"), b"bytes")
    return stores.function()


@pytest.fixture(autouse=True)
def only_json_is_logged(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Check that every line that the test logged is JSON without an exception."""
    yield
    output = capfd.readouterr()
    assert output.err == ""
    for line in output.out.splitlines():
        assert "exception" not in json.loads(line), line


def deliver(function: Function, event: Json) -> str:
    """Invoke the function and check what holds for every invocation; return the response."""
    try:
        response = function.handle(event, Context())
    except (InvalidEventError, BatchFailedError) as refusal:
        message = refusal.message
    else:
        message = json.dumps(response)
    message.encode()
    assert InternalError.code not in message
    return message


@often
@given(event=inputs.JSON)
def test_any_json_is_handled_or_rejected(function: Function, event: Json) -> None:
    deliver(function, event)


@often
@given(event=inputs.mutated(inputs.EVENTS))
def test_mutated_event_is_handled_or_rejected(function: Function, event: Json) -> None:
    deliver(function, event)


@often
@given(event=inputs.mutated_messages() | inputs.mutated((inputs.sqs_event("{}", "[]"),)))
def test_any_sqs_batch_is_handled_or_rejected(function: Function, event: Json) -> None:
    deliver(function, event)


@often
@given(event=inputs.mutated(inputs.REQUESTS))
def test_mutated_api_gateway_event_is_handled_or_rejected(function: Function, event: Json) -> None:
    deliver(function, event)


@often
@example(event=inputs.api_request('{"s3_bucket": "source", "s3_key": "\\ud800"}'))
@example(event=inputs.api_request("{}", path="/v1/\ud800"))
@given(event=inputs.requests())
def test_any_http_request_gets_a_documented_response(function: Function, event: Json) -> None:
    sent = as_sent_by_lambda(function.handle(event, Context()))
    assert sent["statusCode"] in STATUSES, sent
    headers = {k: v[0] for k, v in (sent.get("multiValueHeaders") or {}).items()}
    headers |= sent.get("headers") or {}
    assert headers["Content-Type"] == "application/json"
    body = json.loads(sent["body"])
    if sent["statusCode"] in {200, 201}:
        assert body["status"] in {"replicated", "skipped"}
        return
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"code", "message", "retryable"}
    assert body["error"]["code"] != "internal_error"
    assert "Traceback" not in sent["body"]


@often
@given(key=inputs.TEXTS, bucket=st.just("source") | inputs.TEXTS)
def test_any_bucket_and_key_is_handled_or_rejected(
    function: Function, key: str, bucket: str
) -> None:
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    deliver(function, inputs.EVENTBRIDGE | {"detail": detail})


@pytest.mark.parametrize("depth", [10, 1_000, 50_000])
def test_deeply_nested_event_is_rejected(function: Function, depth: int) -> None:
    event: Json = inputs.PUT
    for _ in range(depth):
        event = {"requestPayload": event}
    with pytest.raises(InvalidEventError):
        function.handle(event, Context())


def test_event_with_20_000_records_of_one_key_has_one_result(function: Function) -> None:
    (record,) = inputs.PUT["Records"]
    response = function.handle({"Records": [record] * 20_000}, Context())
    assert len(response["results"]) == 1


@given(event=st.binary(max_size=50).map(lambda raw: raw.decode("latin-1")))
def test_payload_that_is_a_string_is_rejected(function: Function, event: str) -> None:
    with pytest.raises(InvalidEventError):
        function.handle(event, Context())
