"""Whatever it is fed, the function answers in its own words: no crash, no stack trace, no hang."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fuzz import inputs
from fuzz.inputs import Json, as_lambda_sends
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory import Context, MemoryStores

from replicate.errors import BatchFailedError, InternalError, InvalidEventError
from replicate.handler import Function
from replicate.protocol.model import SourceRef

BUCKETS = ("source", "my-source-bucket")
STATUSES = {200, 201, 400, 403, 404, 405, 409, 413, 415, 429, 502, 503, 504}
"""What docs/openapi.yaml promises; 500 is for settings and defects."""

often = settings(
    max_examples=200,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def function() -> Function:
    """Return a function over stores in memory that have an object or two."""
    stores = MemoryStores(environ={"REPLICATE_DELETES": "true"})
    for bucket in BUCKETS:
        stores.s3.put(SourceRef(bucket, "key"), b"bytes")
    return stores.function()


@pytest.fixture(autouse=True)
def only_json_is_logged(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Check every line that the examples of a test have logged."""
    yield
    output = capfd.readouterr()
    assert output.err == ""
    for line in output.out.splitlines():
        assert "exception" not in json.loads(line), line


def deliver(function: Function, event: Json) -> str:
    """Invoke, and hold the end to what every invocation promises; returns what was answered."""
    try:
        answer = function.handle(event, Context())
    except (InvalidEventError, BatchFailedError) as refusal:
        message = refusal.message
    else:
        message = json.dumps(answer)
    message.encode()
    assert InternalError.code not in message
    return message


@often
@given(event=inputs.JSON)
def test_any_json_is_an_event_or_refused_as_none(function: Function, event: Json) -> None:
    deliver(function, event)


@often
@given(event=inputs.spoiled(inputs.EVENTS))
def test_an_event_with_any_part_replaced_is_understood_or_refused(
    function: Function, event: Json
) -> None:
    deliver(function, event)


@often
@given(event=inputs.spoiled_messages() | inputs.spoiled((inputs.queued("{}", "[]"),)))
def test_a_queue_with_any_messages_names_those_that_failed(function: Function, event: Json) -> None:
    deliver(function, event)


@often
@given(event=inputs.spoiled(inputs.REQUESTS))
def test_a_request_that_api_gateway_never_made_is_answered_or_refused(
    function: Function, event: Json
) -> None:
    deliver(function, event)


@often
@example(event=inputs.a_request('{"s3_bucket": "source", "s3_key": "\\ud800"}'))
@example(event=inputs.a_request("{}", path="/v1/\ud800"))
@given(event=inputs.requests())
def test_any_request_gets_a_documented_answer(function: Function, event: Json) -> None:
    sent = as_lambda_sends(function.handle(event, Context()))
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
def test_any_name_in_an_event_is_carried_out_or_refused_by_name(
    function: Function, key: str, bucket: str
) -> None:
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    deliver(function, inputs.BRIDGED | {"detail": detail})


@pytest.mark.parametrize("depth", [10, 1_000, 50_000])
def test_a_deep_event_is_refused(function: Function, depth: int) -> None:
    event: Json = inputs.PUT
    for _ in range(depth):
        event = {"requestPayload": event}
    with pytest.raises(InvalidEventError):
        function.handle(event, Context())


def test_a_huge_event_is_carried_out_record_by_record(function: Function) -> None:
    (record,) = inputs.PUT["Records"]
    answer = function.handle({"Records": [record] * 20_000}, Context())
    assert len(answer["results"]) == 1


@given(event=st.binary(max_size=50).map(lambda raw: raw.decode("latin-1")))
def test_a_payload_that_is_only_a_text_is_refused(function: Function, event: str) -> None:
    with pytest.raises(InvalidEventError):
        function.handle(event, Context())
