"""Events and batches have the shape that S3 and Lambda give them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from tools.local.aws import Aws
from tools.local.event_source_mapping import EventSourceMapping
from tools.local.notifications import (
    Json,
    from_moto,
    is_moto_duplicate,
    notification,
    object_key,
    record,
)
from tools.local.runtime import FunctionError

PARTIAL = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with closing(Aws(tmp_path_factory.mktemp("aws"))) as running:
        yield running


@pytest.fixture
def queue(aws: Aws, tmp_path: Path) -> str:
    """Return the URL of a queue with three messages."""
    url = aws.create_queue(tmp_path.name[-60:])
    for number in range(3):
        aws.sqs.send_message(QueueUrl=url, MessageBody=f'{{"number": {number}}}')
    return url


def mapping(aws: Aws, queue: str, response: object, **properties: object) -> EventSourceMapping:
    """Return a mapping to a function with one response."""

    def invoke(event: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(response, Exception):
            raise response
        return response or {"batchItemFailures": [{"itemIdentifier": _id(event, 1)}]}

    described = {"EventSourceArn": "arn", "BatchSize": 10, **properties}
    return EventSourceMapping(aws, queue, described, invoke)


def _id(event: Json, number: int) -> str:
    (found,) = [r["messageId"] for r in event["Records"] if f": {number}" in r["body"]]
    return str(found)


def test_a_partial_response_leaves_the_failed_messages_in_the_queue(aws: Aws, queue: str) -> None:
    batch = mapping(aws, queue, None, **PARTIAL).poll()
    assert batch
    assert len(batch.event["Records"]) == 3
    assert batch.failed() == {_id(batch.event, 1)}
    assert aws.queue_length(queue) == 1
    again = mapping(aws, queue, {"batchItemFailures": []}, **PARTIAL)
    assert again.drain() == [], "it is hidden as long as the queue or the function says"


def test_a_response_is_ignored_without_report_batch_item_failures(aws: Aws, queue: str) -> None:
    batch = mapping(aws, queue, None).poll()
    assert batch
    assert (batch.failed(), aws.queue_length(queue)) == (set(), 0)


def test_a_function_error_leaves_every_message_in_the_queue(aws: Aws, queue: str) -> None:
    batch = mapping(aws, queue, FunctionError("E", "made up"), **PARTIAL).poll()
    assert batch
    assert (len(batch.failed()), aws.queue_length(queue)) == (3, 3)


def test_a_batch_has_no_more_messages_than_the_batch_size(aws: Aws, queue: str) -> None:
    batches = mapping(aws, queue, {"batchItemFailures": []}, BatchSize=2).drain()
    assert [len(batch.event["Records"]) for batch in batches] == [2, 1]


def test_a_key_is_encoded_as_s3_encodes_it() -> None:
    key = "a b+c/ü%2F"
    event = notification(record("bucket", key))
    encoded = event["Records"][0]["s3"]["object"]["key"]
    assert encoded == "a+b%2Bc/%C3%BC%252F"
    assert unquote_plus(encoded) == object_key(event) == key


def test_a_record_of_moto_is_rebuilt_as_s3_sends_it() -> None:
    moto = record("bucket", "a/b", event="ObjectRemoved:Delete", size=1, etag="e")
    moto["s3"]["object"]["key"] = "a%2Fb"
    moto["eventTime"] = "2026-01-01T00:00:00.000Z"
    rebuilt = from_moto(moto)
    assert rebuilt["eventName"] == "ObjectRemoved:Delete"
    assert rebuilt["eventTime"] == moto["eventTime"]
    assert rebuilt["s3"]["object"].keys() == {"key", "sequencer"}
    assert rebuilt["s3"]["object"]["key"] == "a/b"


def test_the_put_event_of_a_multipart_upload_is_a_moto_duplicate() -> None:
    completed = "ObjectCreated:CompleteMultipartUpload"
    assert is_moto_duplicate(record("b", "k", etag="abc-3"))
    assert not is_moto_duplicate(record("b", "k", etag="abc-3", event=completed))
    assert not is_moto_duplicate(record("b", "k", etag="abc"))
