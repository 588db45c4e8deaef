"""Events of S3, read once."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from memory import Context

from replicate import entry
from replicate.entry.batch_operations import BatchOperationsInvocation
from replicate.entry.envelopes import MAX_NESTING
from replicate.entry.invocation import (
    FRESH,
    SMALL_BYTES,
    AsynchronousInvocation,
    Change,
    Invocation,
    Message,
)
from replicate.entry.sqs import SqsInvocation
from replicate.errors import InvalidEventError
from replicate.protocol.model import SourceRef
from replicate.protocol.replicator import Expectation

EVENTS = Path(__file__).parents[2] / "events"
NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


def parse(event: object) -> Invocation:
    return entry.parse(event, NOW, Context(), frozenset())


def a_record(key: str = "key", **said: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "eventSource": "aws:s3",
        "eventName": said.get("name", "ObjectCreated:Put"),
        "eventTime": said.get("time", "2026-11-22T12:00:00.000Z"),
        "s3": {
            "bucket": {"name": said.get("bucket", "source")},
            "object": {"key": key, "size": said.get("size", 5)},
        },
    }


def keys(*records: object) -> list[str]:
    return [change.ref.key for change in parse({"Records": list(records)}).changes]


def malformed(invocation: Invocation) -> list[str]:
    return [error.message for message in invocation.messages for error in message.errors]


def a_refusal(reason: str) -> str:
    """Return the whole message of an event that is refused for `reason`."""
    return (
        f"Unsupported event: {reason}. The function takes S3 events (directly or through SQS, SNS"
        " or EventBridge), tasks of S3 Batch Operations, and POST /v1/replicate through API"
        " Gateway. The folder events/ has a sample of each."
    )


def a_bridged_event(key: str = "key", **said: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """As EventBridge delivers it."""
    detail = {"bucket": {"name": "source"}, "object": {"key": key, "size": 5}}
    return {
        "version": "0",
        "source": "aws.s3",
        "detail-type": said.get("kind", "Object Created"),
        "time": "2026-11-22T12:00:00Z",
        "detail": detail | said.get("detail", {}),
    }


def a_queue_of(*bodies: object) -> dict[str, Any]:
    return {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": f"m{number}", "body": json.dumps(body)}
            for number, body in enumerate(bodies)
        ]
    }


def a_failure_of(event: object) -> dict[str, Any]:
    """What Lambda sends to the failure destination of an asynchronous invocation."""
    return {
        "version": "1.0",
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": event,
        "responsePayload": {"errorMessage": "..."},
    }


def a_topics_message(event: object) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": "x", "Message": json.dumps(event)}


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("plain/path.txt", "plain/path.txt"),
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("100%25", "100%"),
        ("100%2525", "100%25"),
        ("%C3%BC/%F0%9F%99%82", "ü/🙂"),
        ("a%0Ab", "a\nb"),
        ("folder/", "folder/"),
        ("a%2Fb", "a/b"),
    ],
)
def test_a_key_is_decoded_exactly_once(encoded: str, key: str) -> None:
    assert keys(a_record(encoded)) == [key]


def test_a_key_that_is_not_utf_8_is_a_malformed_record() -> None:
    invocation = parse({"Records": [a_record("%FF%FE"), a_record("good")]})
    assert [c.ref.key for c in invocation.changes] == ["good"]
    assert "Records[0]" in malformed(invocation)[0]


def test_several_records_of_one_key_are_one_run_as_old_as_the_oldest() -> None:
    invocation = parse(
        {
            "Records": [
                a_record("a", time="2026-11-22T12:00:10Z"),
                a_record("b"),
                a_record("a", time="2026-11-22T12:00:05Z"),
            ]
        },
    )
    a, b = invocation.changes
    assert a == Change(
        SourceRef("source", "a"), datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC), Expectation.CHANGED
    )
    assert b.ref.key == "b"


def test_a_run_expects_a_change_if_any_of_its_events_does() -> None:
    fresh, old = a_record("a"), a_record("a", time="2026-11-22T10:00:00Z")
    for records in ([fresh, old], [old, fresh]):
        (change,) = parse({"Records": records}).changes
        assert change.expectation == Expectation.CHANGED


def test_a_run_is_of_a_lifecycle_rule_if_all_its_events_are() -> None:
    expired, created = a_record("a", name="LifecycleExpiration:Delete"), a_record("a")
    for records, by_lifecycle in (([expired, expired], True), ([expired, created], False)):
        (change,) = parse({"Records": records}).changes
        assert change.by_lifecycle is by_lifecycle


def test_tasks_about_one_key_are_one_run_of_unknown_age() -> None:
    task = {"taskId": "t", "s3Key": "a", "s3Bucket": "source"}
    event = {"invocationSchemaVersion": "2.0", "invocationId": "i", "tasks": [task, task]}
    assert parse(event).changes == [Change(SourceRef("source", "a"))]


def test_the_test_event_asks_for_nothing() -> None:
    event = json.loads((EVENTS / "s3-test-event.json").read_text())
    assert parse(event) == AsynchronousInvocation((Message(),))


NOT_AN_OBJECT = "not a JSON object"
NO_RECORDS = "missing Records"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, NOT_AN_OBJECT),
        (7, NOT_AN_OBJECT),
        ("text", NOT_AN_OBJECT),
        ([], NOT_AN_OBJECT),
        (a_failure_of(None), NOT_AN_OBJECT),
        ({}, NO_RECORDS),
        ({"Records": None}, NO_RECORDS),
        ({"Records": []}, NO_RECORDS),
        ({"Records": {}}, NO_RECORDS),
        ({"Event": "x"}, NO_RECORDS),
        (
            {"Records": [{"eventSource": "aws:sqs"}]},
            "an SQS message has no messageId",
        ),
        (
            {"Records": [{"eventSource": "aws:sqs", "messageId": "m"}, None]},
            "an SQS message has no messageId",
        ),
        (
            {"invocationSchemaVersion": "2.0", "invocationId": "i"},
            "KeyError while reading an S3 Batch Operations event",
        ),
    ],
    ids=str,
)
def test_an_event_that_is_none_of_ours_is_refused_with_the_reason(
    event: object, reason: str
) -> None:
    with pytest.raises(InvalidEventError) as refused:
        parse(event)
    assert refused.value.message == a_refusal(reason)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "eventSource is not aws:s3"),
        ({}, "eventSource is not aws:s3"),
        ({"eventSource": "aws:sns"}, "eventSource is not aws:s3"),
        ({"eventSource": "aws:s3"}, "KeyError while reading an S3 record"),
        (a_record() | {"s3": None}, "TypeError while reading an S3 record"),
        (a_record() | {"eventTime": "yesterday"}, "ValueError while reading an S3 record"),
        (a_record() | {"eventTime": None}, "TypeError while reading an S3 record"),
        (a_record() | {"eventName": None}, "AttributeError while reading an S3 record"),
        (a_record(bucket=7), "missing or invalid bucket name"),
        (a_record(bucket="b"), "missing or invalid bucket name"),
        (a_record(bucket="a/b"), "missing or invalid bucket name"),
        (a_record(""), "missing or invalid key"),
    ],
    ids=str,
)
def test_a_malformed_record_never_hides_another(record: object, reason: str) -> None:
    invocation = parse({"Records": [a_record("one"), record, a_record("two")]})
    assert [c.ref.key for c in invocation.changes] == ["one", "two"]
    assert malformed(invocation) == [f"Records[1]: {a_refusal(reason)}"]


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ({"object": {"key": 7}}, "missing or invalid key"),
        ({"object": {"key": ""}}, "missing or invalid key"),
        ({"object": {"key": "\ud800"}}, "missing or invalid key"),
        ({"bucket": {"name": None}}, "missing or invalid bucket name"),
        ({"bucket": None}, "TypeError while reading an EventBridge event"),
    ],
    ids=["number", "empty", "half a character", "no name", "no bucket"],
)
def test_a_malformed_event_of_eventbridge_is_said_to_be_so(
    detail: dict[str, Any], reason: str
) -> None:
    assert malformed(parse(a_bridged_event(detail=detail))) == [a_refusal(reason)]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"size": 5}, Expectation.NEW),
        ({"size": SMALL_BYTES}, Expectation.NEW),
        ({"size": SMALL_BYTES + 1}, Expectation.CHANGED),
        ({"size": None}, Expectation.CHANGED),
        ({"name": "ObjectCreated:CompleteMultipartUpload"}, Expectation.NEW),
        ({"name": "ObjectRestore:Completed"}, Expectation.UNKNOWN),
        ({"name": "ObjectRemoved:Delete"}, Expectation.UNKNOWN),
        ({"time": (NOW - FRESH).isoformat()}, Expectation.UNKNOWN),
        ({"time": (NOW - timedelta(days=3)).isoformat()}, Expectation.UNKNOWN),
    ],
    ids=str,
)
def test_only_a_fresh_creation_lets_us_expect_something(
    said: dict[str, Any], expected: Expectation
) -> None:
    assert parse({"Records": [a_record(**said)]}).changes[0].expectation == expected


@pytest.mark.parametrize("path", sorted(EVENTS.glob("s3-*.json")), ids=lambda path: path.stem)
def test_every_sample_event_of_s3_is_understood(path: Path) -> None:
    invocation = parse(json.loads(path.read_text()))
    assert bool(invocation.changes) != (path.stem == "s3-test-event")
    assert bool(malformed(invocation)) == (path.stem == "s3-put-malformed-record")


def test_the_sample_that_is_not_ours_is_refused() -> None:
    with pytest.raises(InvalidEventError):
        parse(json.loads((EVENTS / "not-ours.json").read_text()))


@pytest.mark.parametrize("key", ["a+b", "a%2Bb", "100%", "a b", "ü/🙂", "folder/"])
def test_a_key_from_eventbridge_is_not_decoded_at_all(key: str) -> None:
    (change,) = parse(a_bridged_event(key)).changes
    assert change.ref == SourceRef("source", key)
    assert change.expectation == Expectation.NEW


@pytest.mark.parametrize(
    "kind", ["Object Deleted", "Object Restore Completed", "Object Tags Added", "Object Created?"]
)
def test_every_other_event_of_eventbridge_is_a_reason_to_look(kind: str) -> None:
    assert parse(a_bridged_event(kind=kind)).changes[0].expectation == Expectation.UNKNOWN


def test_what_a_lifecycle_rule_deleted_is_told_apart() -> None:
    native = parse({"Records": [a_record(name="LifecycleExpiration:Delete")]})
    bridged = parse(a_bridged_event(detail={"reason": "Lifecycle Expiration"}))
    by_hand = parse(a_bridged_event(detail={"reason": "DeleteObject"}))
    assert [d.changes[0].by_lifecycle for d in (native, bridged, by_hand)] == [True, True, False]


def test_a_queues_message_is_answered_for_by_itself() -> None:
    event = a_queue_of({"Records": [a_record("a")]}, a_bridged_event("b"), {"nonsense": 1})
    invocation = parse(event)
    assert isinstance(invocation, SqsInvocation)
    assert [message.id for message in invocation.messages] == ["m0", "m1", "m2"]
    assert [[c.ref.key for c in message.changes] for message in invocation.messages] == [
        ["a"],
        ["b"],
        [],
    ]
    assert [len(message.errors) for message in invocation.messages] == [0, 0, 1]


def test_several_messages_about_one_key_are_one_run() -> None:
    event = a_queue_of(*({"Records": [a_record("a")]} for _ in range(3)))
    assert len(parse(event).changes) == 1


@pytest.mark.parametrize("body", [None, 7, "no JSON", "[", "[" * 5000])
def test_a_message_that_is_no_json_is_poison_by_itself(body: object) -> None:
    event = a_queue_of({"Records": [a_record("a")]})
    event["Records"].append({"eventSource": "aws:sqs", "messageId": "bad", "body": body})
    invocation = parse(event)
    assert len(invocation.changes) == 1
    assert invocation.messages[1].errors


@pytest.mark.parametrize(
    "event",
    [
        a_failure_of({"Records": [a_record("a%2Bb")]}),
        a_failure_of(a_failure_of({"Records": [a_record("a%2Bb")]})),
        a_topics_message({"Records": [a_record("a%2Bb")]}),
        a_queue_of(a_topics_message({"Records": [a_record("a%2Bb")]})),
        a_queue_of(a_failure_of({"Records": [a_record("a%2Bb")]})),
        a_queue_of(a_failure_of(a_bridged_event("a+b"))),
        a_queue_of(a_topics_message(a_bridged_event("a+b"))),
    ],
    ids=[
        "failure",
        "failed twice",
        "topic",
        "topic in queue",
        "failure in queue",
        "bridged failure in queue",
        "bridged through topic in queue",
    ],
)
def test_envelopes_are_opened_and_the_key_decoded_once_at_most(event: dict[str, Any]) -> None:
    (change,) = parse(event).changes
    assert change.ref == SourceRef("source", "a+b")


@pytest.mark.parametrize("envelope", [a_failure_of, a_topics_message])
def test_only_so_many_envelopes_are_opened(
    envelope: Callable[[object], dict[str, Any]],
) -> None:
    event: dict[str, Any] = {"Records": [a_record()]}
    for _ in range(MAX_NESTING):
        event = envelope(event)
    assert len(parse(event).changes) == 1
    with pytest.raises(InvalidEventError) as refused:
        parse(envelope(event))
    assert refused.value.message == a_refusal("too many envelopes")


@pytest.mark.parametrize(
    ("version", "bucket"),
    [
        ("1.0", {"s3BucketArn": "arn:aws:s3:::source", "s3VersionId": "v1"}),
        ("2.0", {"s3Bucket": "source", "s3VersionId": None}),
    ],
)
def test_a_task_of_batch_operations_names_a_key_to_look_at(
    version: str, bucket: dict[str, str | None]
) -> None:
    event = {
        "invocationSchemaVersion": version,
        "invocationId": "i",
        "job": {"id": "j"},
        "tasks": [{"taskId": "t", "s3Key": "a+b%2Bc%25", **bucket}],
    }
    invocation = parse(event)
    assert invocation == BatchOperationsInvocation(
        messages=(Message("t", (Change(SourceRef("source", "a b+c%")),)),),
        invocation_id="i",
        schema_version=version,
    )


def test_a_task_that_makes_no_sense_is_the_failure_of_that_task() -> None:
    event = {
        "invocationSchemaVersion": "2.0",
        "invocationId": "i",
        "tasks": [{"taskId": "t", "s3Key": "%FF", "s3Bucket": "source"}],
    }
    assert malformed(parse(event)) == [
        a_refusal("UnicodeDecodeError while reading a task of S3 Batch Operations")
    ]
