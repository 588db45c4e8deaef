"""`entry.parse` reads the events of every invoker."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from memory import Context

from replicate.entry import dispatch
from replicate.entry.asynchronous import AsynchronousInvocation
from replicate.entry.batch_operations import BatchOperationsInvocation
from replicate.entry.envelopes import MAX_NESTING
from replicate.entry.invocation import Change, Invocation, Message
from replicate.entry.reading import FRESH, SMALL_BYTES
from replicate.entry.sqs import SqsInvocation
from replicate.errors import InvalidEventError
from replicate.protocol.evidence import HINT, REQUEST, user_deletion
from replicate.protocol.model import Expectation, SourceRef

EVENTS = Path(__file__).parents[2] / "events"
NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


def parse(event: object) -> Invocation:
    return dispatch.parse_invocation(event, NOW, Context())


def s3_record(key: str = "key", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "eventSource": "aws:s3",
        "eventName": fields.get("name", "ObjectCreated:Put"),
        "eventTime": fields.get("time", "2026-11-22T12:00:00.000Z"),
        "s3": {
            "bucket": {"name": fields.get("bucket", "source")},
            "object": {"key": key, "size": fields.get("size", 5)},
        },
    }


def keys(*records: object) -> list[str]:
    return [change.ref.key for change in parse({"Records": list(records)}).changes]


def error_messages(invocation: Invocation) -> list[str]:
    return [error.message for message in invocation.messages for error in message.errors]


def rejection(event: object) -> str:
    """Return why an event cannot be read: from an exception, or from the error of its message."""
    try:
        invocation = parse(event)
    except InvalidEventError as error:
        return error.message
    (message,) = error_messages(invocation)
    assert not invocation.changes
    return message


def unsupported_event_message(reason: str) -> str:
    """Return the error message for an event that is rejected because of `reason`."""
    return (
        f"Unsupported event: {reason}. The function takes S3 events (directly or through SQS, SNS"
        " or EventBridge), tasks of S3 Batch Operations, and POST /v1/replicate through API"
        " Gateway. The folder events/ has a sample of each."
    )


def eventbridge_event(key: str = "key", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return an S3 event as EventBridge delivers it."""
    detail = {"bucket": {"name": "source"}, "object": {"key": key, "size": 5}}
    return {
        "version": "0",
        "source": "aws.s3",
        "detail-type": fields.get("detail_type", "Object Created"),
        "time": "2026-11-22T12:00:00Z",
        "detail": detail | fields.get("detail", {}),
    }


def sqs_event(*bodies: object) -> dict[str, Any]:
    return {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": f"m{number}", "body": json.dumps(body)}
            for number, body in enumerate(bodies)
        ]
    }


def failure_record(event: object) -> dict[str, Any]:
    """Return what Lambda sends to the failure destination of an asynchronous invocation."""
    return {
        "version": "1.0",
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": event,
        "responsePayload": {"errorMessage": "..."},
    }


def sns_message(event: object) -> dict[str, Any]:
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
def test_key_is_decoded_once(encoded: str, key: str) -> None:
    assert keys(s3_record(encoded)) == [key]


def test_record_is_malformed_when_its_key_is_not_utf_8() -> None:
    invocation = parse({"Records": [s3_record("%FF%FE"), s3_record("good")]})
    assert [c.ref.key for c in invocation.changes] == ["good"]
    assert "Records[0]" in error_messages(invocation)[0]


def test_records_of_one_key_become_one_change_with_the_oldest_time_and_largest_size() -> None:
    invocation = parse(
        {
            "Records": [
                s3_record("a", time="2026-11-22T12:00:10Z", size=7),
                s3_record("b"),
                s3_record("a", time="2026-11-22T12:00:05Z", size=5),
            ]
        },
    )
    a, b = invocation.changes
    oldest = datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC)
    assert a == Change(SourceRef("source", "a"), oldest, Expectation.CHANGED, 7)
    assert b.ref.key == "b"


def test_change_is_expected_when_any_record_expects_it() -> None:
    fresh, old = s3_record("a"), s3_record("a", time="2026-11-22T10:00:00Z")
    for records in ([fresh, old], [old, fresh]):
        (change,) = parse({"Records": records}).changes
        assert change.expectation == Expectation.CHANGED


def test_change_has_the_strongest_evidence_of_its_records() -> None:
    created, expired = s3_record("a"), s3_record("a", name="LifecycleExpiration:Delete")
    early, late = "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"
    first = s3_record("a", name="ObjectRemoved:Delete", time=early)
    second = s3_record("a", name="ObjectRemoved:DeleteMarkerCreated", time=late)
    at = datetime.fromisoformat
    for records, evidence in (
        ([expired, created], HINT),
        ([first, expired, created], user_deletion(at(early))),
        ([second, first], user_deletion(at(late))),
    ):
        for order in (records, records[::-1]):
            (change,) = parse({"Records": order}).changes
            assert change.evidence == evidence


def test_tasks_of_one_key_become_one_change_without_a_time() -> None:
    task = {"taskId": "t", "s3Key": "a", "s3Bucket": "source"}
    event = {"invocationSchemaVersion": "2.0", "invocationId": "i", "tasks": [task, task]}
    assert parse(event).changes == [Change(SourceRef("source", "a"), evidence=REQUEST)]


def test_s3_test_event_has_no_changes() -> None:
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
        (failure_record(None), NOT_AN_OBJECT),
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
def test_unsupported_event_is_rejected_with_the_reason(event: object, reason: str) -> None:
    assert rejection(event) == unsupported_event_message(reason)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "eventSource is not aws:s3"),
        ({}, "eventSource is not aws:s3"),
        ({"eventSource": "aws:sns"}, "eventSource is not aws:s3"),
        ({"eventSource": "aws:s3"}, "KeyError while reading an S3 record"),
        (s3_record() | {"s3": None}, "TypeError while reading an S3 record"),
        (s3_record() | {"eventTime": "yesterday"}, "ValueError while reading an S3 record"),
        (s3_record() | {"eventTime": None}, "TypeError while reading an S3 record"),
        (s3_record() | {"eventName": None}, "AttributeError while reading an S3 record"),
        (s3_record(bucket=7), "missing or invalid bucket name"),
        (s3_record(bucket="b"), "missing or invalid bucket name"),
        (s3_record(bucket="a/b"), "missing or invalid bucket name"),
        (s3_record(""), "missing or invalid key"),
    ],
    ids=str,
)
def test_malformed_record_does_not_hide_other_records(record: object, reason: str) -> None:
    invocation = parse({"Records": [s3_record("one"), record, s3_record("two")]})
    assert [c.ref.key for c in invocation.changes] == ["one", "two"]
    assert error_messages(invocation) == [f"Records[1]: {unsupported_event_message(reason)}"]


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
def test_malformed_eventbridge_event_is_reported(detail: dict[str, Any], reason: str) -> None:
    assert error_messages(parse(eventbridge_event(detail=detail))) == [
        unsupported_event_message(reason)
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
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
def test_expectation_depends_on_event_name_age_and_size(
    fields: dict[str, Any], expected: Expectation
) -> None:
    assert parse({"Records": [s3_record(**fields)]}).changes[0].expectation == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(None, Expectation.CHANGED), (10**6 - 1, Expectation.CHANGED), (10**6, Expectation.UNKNOWN)],
)
def test_stream_is_not_opened_ahead_when_object_goes_in_parts(
    size: int | None, expected: Expectation
) -> None:
    s3, bridge = (
        s3_record("a", size=size),
        eventbridge_event(detail={"object": {"key": "a", "size": size}}),
    )
    for event in ({"Records": [s3]}, bridge):
        (change,) = parse(event).changes
        assert change.expect(parallel_from=10**6) == expected


@pytest.mark.parametrize("path", sorted(EVENTS.glob("s3-*.json")), ids=lambda path: path.stem)
def test_every_s3_sample_event_is_parsed(path: Path) -> None:
    invocation = parse(json.loads(path.read_text()))
    assert bool(invocation.changes) != (path.stem == "s3-test-event")
    assert bool(error_messages(invocation)) == (path.stem == "s3-put-malformed-record")


def test_unsupported_sample_event_is_rejected() -> None:
    event = json.loads((EVENTS / "not-ours.json").read_text())
    assert rejection(event) == unsupported_event_message(NO_RECORDS)


@pytest.mark.parametrize("key", ["a+b", "a%2Bb", "100%", "a b", "ü/🙂", "folder/"])
def test_eventbridge_key_is_not_decoded(key: str) -> None:
    (change,) = parse(eventbridge_event(key)).changes
    assert change.ref == SourceRef("source", key)
    assert change.expectation == Expectation.NEW


@pytest.mark.parametrize(
    "detail_type",
    ["Object Deleted", "Object Restore Completed", "Object Tags Added", "Object Created?"],
)
def test_expectation_is_unknown_for_other_eventbridge_events(detail_type: str) -> None:
    assert (
        parse(eventbridge_event(detail_type=detail_type)).changes[0].expectation
        == Expectation.UNKNOWN
    )


@pytest.mark.parametrize(
    ("detail_type", "detail", "is_evidence"),
    [
        ("Object Deleted", {"reason": "DeleteObject"}, True),
        ("Object Deleted", {"reason": "Lifecycle Expiration"}, False),
        ("Object Deleted", {"reason": "something new"}, False),
        ("Object Deleted", {}, False),
        ("Object Created", {"reason": "DeleteObject"}, False),
    ],
)
def test_only_a_deletion_by_a_user_is_evidence(
    detail_type: str, detail: dict[str, str], *, is_evidence: bool
) -> None:
    (change,) = parse(eventbridge_event(detail_type=detail_type, detail=detail)).changes
    assert (change.evidence != HINT) is is_evidence
    if is_evidence:
        assert change.evidence.deleted_at == change.occurred_at


def test_each_sqs_message_has_its_own_changes_and_errors() -> None:
    event = sqs_event({"Records": [s3_record("a")]}, eventbridge_event("b"), {"nonsense": 1})
    invocation = parse(event)
    assert isinstance(invocation, SqsInvocation)
    assert [message.id for message in invocation.messages] == ["m0", "m1", "m2"]
    assert [[c.ref.key for c in message.changes] for message in invocation.messages] == [
        ["a"],
        ["b"],
        [],
    ]
    assert [len(message.errors) for message in invocation.messages] == [0, 0, 1]


def test_messages_of_one_key_become_one_change() -> None:
    event = sqs_event(*({"Records": [s3_record("a")]} for _ in range(3)))
    assert len(parse(event).changes) == 1


@pytest.mark.parametrize("body", [None, 7, "no JSON", "[", "[" * 5000])
def test_message_that_is_not_json_fails_alone(body: object) -> None:
    event = sqs_event({"Records": [s3_record("a")]})
    event["Records"].append({"eventSource": "aws:sqs", "messageId": "bad", "body": body})
    invocation = parse(event)
    assert len(invocation.changes) == 1
    assert invocation.messages[1].errors


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"nonsense": 1}, NO_RECORDS),
        (eventbridge_event(detail={"bucket": 1}), "TypeError while reading an EventBridge event"),
        ({"executionWatch": {}}, "KeyError while reading an execution watch"),
        ({"nomination": {}}, "KeyError while reading a nomination"),
    ],
    ids=["S3", "EventBridge", "execution", "nomination"],
)
def test_message_that_cannot_be_read_fails_by_its_id_and_says_why(
    body: dict[str, Any], reason: str
) -> None:
    (message,) = parse(sqs_event(body)).messages
    assert message.id == "m0"
    assert [error.message for error in message.errors] == [unsupported_event_message(reason)]


@pytest.mark.parametrize(
    "event",
    [
        failure_record({"Records": [s3_record("a%2Bb")]}),
        failure_record(failure_record({"Records": [s3_record("a%2Bb")]})),
        sns_message({"Records": [s3_record("a%2Bb")]}),
        sqs_event(sns_message({"Records": [s3_record("a%2Bb")]})),
        sqs_event(failure_record({"Records": [s3_record("a%2Bb")]})),
        sqs_event(failure_record(eventbridge_event("a+b"))),
        sqs_event(sns_message(eventbridge_event("a+b"))),
        {"failedEvent": eventbridge_event("a+b"), "failures": []},
        sqs_event({"failedEvent": {"Records": [s3_record("a%2Bb")]}, "failures": []}),
        sqs_event(failure_record({"failedEvent": {"Records": [s3_record("a%2Bb")]}})),
        sqs_event({"retriedEvent": {"Records": [s3_record("a%2Bb")]}, "transfers": 1}),
    ],
    ids=[
        "failure",
        "failed twice",
        "topic",
        "topic in queue",
        "failure in queue",
        "EventBridge failure in queue",
        "EventBridge through topic in queue",
        "dead letter",
        "dead letter in queue",
        "dead letter that failed again",
        "event sent again",
    ],
)
def test_envelopes_are_unwrapped_and_the_key_is_decoded_at_most_once(event: dict[str, Any]) -> None:
    (change,) = parse(event).changes
    assert change.ref == SourceRef("source", "a+b")


@pytest.mark.parametrize("envelope", [failure_record, sns_message])
def test_event_is_rejected_when_it_is_nested_too_deeply(
    envelope: Callable[[object], dict[str, Any]],
) -> None:
    event: dict[str, Any] = {"Records": [s3_record()]}
    for _ in range(MAX_NESTING):
        event = envelope(event)
    assert len(parse(event).changes) == 1
    assert rejection(envelope(event)) == unsupported_event_message("too many envelopes")


@pytest.mark.parametrize(
    ("version", "bucket"),
    [
        ("1.0", {"s3BucketArn": "arn:aws:s3:::source", "s3VersionId": "v1"}),
        ("2.0", {"s3Bucket": "source", "s3VersionId": None}),
    ],
)
def test_batch_operations_task_becomes_a_change_of_unknown_expectation(
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
        messages=(Message("t", (Change(SourceRef("source", "a b+c%"), evidence=REQUEST),)),),
        invocation_id="i",
        schema_version=version,
    )


def test_malformed_task_is_reported() -> None:
    event = {
        "invocationSchemaVersion": "2.0",
        "invocationId": "i",
        "tasks": [{"taskId": "t", "s3Key": "%FF", "s3Bucket": "source"}],
    }
    assert error_messages(parse(event)) == [
        unsupported_event_message("UnicodeDecodeError while reading a task of S3 Batch Operations")
    ]
