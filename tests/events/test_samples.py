"""events/ has a sample of each kind of invocation, in the shape in which AWS sends it."""

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import pytest
from memory import Context

from replicate.entry import dispatch, execution_watch, nomination
from replicate.entry.asynchronous import AsynchronousInvocation
from replicate.entry.batch_operations import BatchOperationsInvocation
from replicate.entry.invocation import (
    Cause,
    History,
    Invocation,
    Message,
    Receipt,
)
from replicate.entry.sqs import SqsInvocation
from replicate.errors import IntegrityError
from replicate.protocol.evidence import EvidenceKind
from replicate.protocol.model import SourceRef
from replicate.settlement.failure import Failure
from replicate.settlement.letters import dead_letter, retried_event
from replicate.settlement.policy import RedeliveryPolicy

EVENTS = Path(__file__).resolve().parents[2] / "events"
SAMPLES = {path.name: json.loads(path.read_text()) for path in sorted(EVENTS.glob("*.json"))}
NOTIFICATIONS = {
    n: s["Records"] for n, s in SAMPLES.items() if n.startswith("s3-") and "Records" in s
}
QUEUED = {n: s["Records"] for n, s in SAMPLES.items() if n.startswith("sqs-")}
RECORDS = [
    pytest.param(record, id=f"{name}[{number}]")
    for name, records in NOTIFICATIONS.items()
    for number, record in enumerate(records)
    if "key" in record["s3"]["object"]
]
BUCKET = "my-source-bucket"
NOW = datetime(2026, 11, 22, 9, 30, 30, tzinfo=UTC)
ODD = "reports/2026 Q4/a+b = 100% of café, 東京 & %2F.txt"
HARBOUR, LOG = "photos/2026/11/harbour.jpg", "logs/app.log"
ARCHIVED = "archive/harbour.jpg"

EXPECTED: dict[str, tuple[type[Invocation], list[str]]] = {
    "batch-operations-1.0.json": (BatchOperationsInvocation, [ODD]),
    "batch-operations-2.0.json": (BatchOperationsInvocation, [ODD]),
    "eventbridge-lifecycle-expiration.json": (AsynchronousInvocation, [ARCHIVED]),
    "eventbridge-object-created.json": (AsynchronousInvocation, [ODD]),
    "eventbridge-object-deleted.json": (AsynchronousInvocation, [HARBOUR]),
    "eventbridge-restore-completed.json": (AsynchronousInvocation, ["archive/2019/ledger.csv"]),
    "eventbridge-tags-added.json": (AsynchronousInvocation, [ARCHIVED]),
    "failure-record.json": (AsynchronousInvocation, [LOG]),
    "s3-lifecycle-expiration.json": (AsynchronousInvocation, [ARCHIVED]),
    "s3-tagging.json": (AsynchronousInvocation, [ARCHIVED]),
    "sns-s3.json": (AsynchronousInvocation, [ODD]),
    "sqs-dead-letter.json": (SqsInvocation, [LOG]),
    "sqs-eventbridge.json": (SqsInvocation, [ODD]),
    "sqs-execution-watch.json": (SqsInvocation, [LOG]),
    "sqs-failure-record.json": (SqsInvocation, [LOG]),
    "sqs-nomination.json": (SqsInvocation, [LOG]),
    "sqs-poison.json": (SqsInvocation, [LOG, ODD]),
    "sqs-retried-event.json": (SqsInvocation, [LOG]),
    "sqs-s3.json": (SqsInvocation, [LOG, ODD]),
    "sqs-sns.json": (SqsInvocation, [ODD]),
}
"""The invoker and the keys of each sample. The key ODD shows every wrong decoding."""


FIRST_RECEIVE = '"ApproximateReceiveCount": "1"'
SECOND_RECEIVE = '"ApproximateReceiveCount": "2"'


def parse(event: object) -> Invocation:
    return dispatch.parse_invocation(event, NOW, Context())


def keys(name: str) -> list[str]:
    return [unquote_plus(record["s3"]["object"]["key"]) for record in NOTIFICATIONS[name]]


def test_there_is_a_sample_of_each_kind() -> None:
    assert set(SAMPLES) >= {
        "api-v1.json",
        "api-v2.json",
        "api-v2-malformed-body.json",
        "not-ours.json",
        "s3-copy.json",
        "s3-delete.json",
        "s3-delete-marker.json",
        "s3-multipart-complete.json",
        "s3-put.json",
        "s3-put-encoded-key.json",
        "s3-put-malformed-record.json",
        "s3-put-multiple.json",
        "s3-restore-completed.json",
        "s3-test-event.json",
        *EXPECTED,
    }


def test_readme_describes_each_sample() -> None:
    assert set(re.findall(r"`([\w.-]+\.json)`", (EVENTS / "README.md").read_text())) == set(SAMPLES)


@pytest.mark.parametrize("name", EXPECTED)
def test_sample_is_parsed_to_the_expected_keys(name: str) -> None:
    kind, keys = EXPECTED[name]
    invocation = parse(SAMPLES[name])

    assert isinstance(invocation, kind)
    assert [change.ref for change in invocation.changes] == [SourceRef(BUCKET, k) for k in keys]
    assert [len(message.errors) for message in invocation.messages if message.errors] == (
        [1] if name == "sqs-poison.json" else []
    )


def test_failure_record_names_the_key_that_failed() -> None:
    (message,) = QUEUED["sqs-failure-record.json"]
    for record in (SAMPLES["failure-record.json"], json.loads(message["body"])):
        assert f"/{LOG}: " in record["responsePayload"]["errorMessage"]


def written(name: str, body: object) -> None:
    """Assert that the function writes what is in a sample, but for values."""
    (message,) = QUEUED[name]
    assert shape(json.loads(message["body"])) == shape(body)


def shape(value: object) -> object:
    """Return the names in a JSON value, and the types of what they name."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value)


def test_messages_of_the_function_are_those_that_it_writes() -> None:
    (change,) = parse(SAMPLES["sqs-nomination.json"]).changes
    put = SAMPLES["failure-record.json"]["requestPayload"]
    message = Message(event=put, receipt=Receipt("handle"))
    failure = Failure(message, (Cause(change.ref, IntegrityError("other bytes")),))
    again = retried_event(failure, NOW, RedeliveryPolicy())

    assert again
    written("sqs-retried-event.json", json.loads(again[0]))
    written("sqs-dead-letter.json", json.loads(dead_letter(failure, NOW, "id")))
    waiting = replace(change, occurred_at=NOW)
    written(
        "sqs-execution-watch.json",
        json.loads(execution_watch.write_message(waiting, "name-1", NOW)),
    )
    written("sqs-nomination.json", json.loads(nomination.write_message(change.ref)))


def test_messages_of_the_function_say_what_happened_before() -> None:
    (letter,) = parse(SAMPLES["sqs-dead-letter.json"]).messages
    assert letter.history == History(attempts=1, is_repeated=True)
    (again,) = parse(SAMPLES["sqs-retried-event.json"]).messages
    first = datetime(2026, 11, 22, 9, 30, 7, 951000, tzinfo=UTC)
    assert again.history == History(attempts=1, transfers=1, sent_at=first, is_repeated=True)
    (waiting,) = parse(SAMPLES["sqs-execution-watch.json"]).changes
    assert (len(waiting.watched), waiting.since is None) == (1, False)


def test_only_events_that_s3_has_just_sent_are_first_hand() -> None:
    """A retry, redrive, nomination or request says nothing about the wiring of the bucket."""
    found: dict[str, int] = {}
    for name in SAMPLES.keys() - {"not-ours.json"}:
        count = sum(message.is_first_hand for message in parse(SAMPLES[name]).messages)
        found |= {name: count} if count else {}

    by_s3 = {n for n in SAMPLES if n.startswith(("s3-", "eventbridge-"))} - {"s3-test-event.json"}
    queued = {"sqs-s3.json": 2, "sqs-eventbridge.json": 1, "sqs-sns.json": 1, "sqs-poison.json": 2}
    assert found == dict.fromkeys(by_s3, 1) | {"sns-s3.json": 1} | queued
    for name in queued:
        again = json.loads(json.dumps(SAMPLES[name]).replace(FIRST_RECEIVE, SECOND_RECEIVE))
        assert not any(message.is_first_hand for message in parse(again).messages), name


def test_samples_are_the_evidence_that_they_say() -> None:
    kinds: dict[EvidenceKind, set[str]] = {}
    for name in {*EXPECTED, *NOTIFICATIONS}:
        for change in parse(SAMPLES[name]).changes:
            kinds.setdefault(change.evidence.kind, set()).add(name)

    assert kinds[EvidenceKind.USER_DELETION] == {
        "eventbridge-object-deleted.json",
        "s3-delete.json",
        "s3-delete-marker.json",
    }
    assert kinds[EvidenceKind.REQUEST] == {"batch-operations-1.0.json", "batch-operations-2.0.json"}


@pytest.mark.parametrize("name", QUEUED)
def test_sqs_messages_have_the_fields_that_lambda_sends(name: str) -> None:
    messages = QUEUED[name]

    assert len({message["messageId"] for message in messages}) == len(messages)
    for message in messages:
        assert message["eventSource"] == "aws:sqs"
        digest = hashlib.md5(message["body"].encode(), usedforsecurity=False).hexdigest()
        assert message["md5OfBody"] == digest


@pytest.mark.parametrize("record", RECORDS)
def test_s3_records_have_the_fields_that_s3_sends(record: dict[str, Any]) -> None:
    new = record["eventName"].startswith(("LifecycleExpiration:", "ObjectTagging:"))
    assert record["eventVersion"] == ("2.3" if new else "2.1")
    assert record["eventSource"] == "aws:s3"
    assert re.fullmatch(r"(Object\w+|LifecycleExpiration):\w+", record["eventName"])
    assert datetime.fromisoformat(record["eventTime"]).tzinfo
    assert set(record["responseElements"]) == {"x-amz-request-id", "x-amz-id-2"}
    s3 = record["s3"]
    assert s3["s3SchemaVersion"] == "1.0"
    assert s3["bucket"]["name"] == BUCKET
    assert s3["bucket"]["arn"] == f"arn:aws:s3:::{BUCKET}"
    assert re.fullmatch(r"[0-9A-F]{18}", s3["object"]["sequencer"])


@pytest.mark.parametrize("record", RECORDS)
def test_keys_are_encoded_as_s3_encodes_them(record: dict[str, Any]) -> None:
    key = record["s3"]["object"]["key"]

    assert quote_plus(unquote_plus(key), safe="/") == key


@pytest.mark.parametrize("record", RECORDS)
def test_only_created_and_restored_objects_have_a_size(record: dict[str, Any]) -> None:
    has_size = record["eventName"].startswith(("ObjectCreated:", "ObjectRestore:"))

    assert ("size" in record["s3"]["object"]) is has_size


def test_encoded_key_differs_when_it_is_decoded_never_once_or_twice() -> None:
    (key,) = keys("s3-put-encoded-key.json")

    assert key == "reports/2026 Q4/a+b = 100% of café, 東京 & %2F.txt"
    assert len({key, unquote_plus(key), quote_plus(key, safe="/")}) == 3


def test_two_of_several_records_are_for_one_key() -> None:
    assert keys("s3-put-multiple.json") == ["logs/app.log", "logs/app.log", "logs/audit.log"]
    first, second, _ = NOTIFICATIONS["s3-put-multiple.json"]
    assert first["s3"]["object"]["sequencer"] < second["s3"]["object"]["sequencer"]


def test_malformed_record_follows_a_valid_one() -> None:
    good, bad = NOTIFICATIONS["s3-put-malformed-record.json"]

    assert "key" in good["s3"]["object"]
    assert "key" not in bad["s3"]["object"]


def test_s3_test_event_has_no_records() -> None:
    assert SAMPLES["s3-test-event.json"]["Event"] == "s3:TestEvent"
    assert "Records" not in SAMPLES["s3-test-event.json"]


def test_api_samples_have_both_payload_formats() -> None:
    rest, http = SAMPLES["api-v1.json"], SAMPLES["api-v2.json"]

    assert (rest["httpMethod"], rest["path"]) == ("POST", "/v1/replicate")
    assert rest["requestContext"]["httpMethod"] == "POST"
    assert (http["version"], http["routeKey"]) == ("2.0", "POST /v1/replicate")
    assert json.loads(rest["body"]) == json.loads(http["body"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(SAMPLES["api-v2-malformed-body.json"]["body"])
