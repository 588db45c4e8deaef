"""events/ holds one invocation of each kind, in the shape in which AWS sends it."""

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import pytest
from memory import Context

from replicate import entry
from replicate.entry.batch_operations import BatchOperationsInvocation
from replicate.entry.invocation import AsynchronousInvocation, Invocation
from replicate.entry.sqs import SqsInvocation
from replicate.protocol.model import SourceRef

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

MEANT: dict[str, tuple[type[Invocation], list[str]]] = {
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
    "sqs-eventbridge.json": (SqsInvocation, [ODD]),
    "sqs-failure-record.json": (SqsInvocation, [LOG]),
    "sqs-poison.json": (SqsInvocation, [LOG, ODD]),
    "sqs-s3.json": (SqsInvocation, [LOG, ODD]),
    "sqs-sns.json": (SqsInvocation, [ODD]),
}
"""Which keys the function is to understand: the odd one tells every wrong decoding."""


def parse(event: object) -> Invocation:
    return entry.parse(event, NOW, Context(), frozenset())


def keys(name: str) -> list[str]:
    return [unquote_plus(record["s3"]["object"]["key"]) for record in NOTIFICATIONS[name]]


def test_there_is_one_of_each_kind() -> None:
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
        *MEANT,
    }


@pytest.mark.parametrize("name", MEANT)
def test_the_function_reads_the_keys_that_are_meant(name: str) -> None:
    kind, keys = MEANT[name]
    invocation = parse(SAMPLES[name])

    assert isinstance(invocation, kind)
    assert [change.ref for change in invocation.changes] == [SourceRef(BUCKET, k) for k in keys]
    assert [len(message.errors) for message in invocation.messages if message.errors] == (
        [1] if name == "sqs-poison.json" else []
    )


def test_a_failure_record_names_the_key_that_failed() -> None:
    (message,) = QUEUED["sqs-failure-record.json"]
    for record in (SAMPLES["failure-record.json"], json.loads(message["body"])):
        assert f"/{LOG}: " in record["responsePayload"]["errorMessage"]


def test_what_a_lifecycle_rule_deletes_is_told_apart() -> None:
    by_lifecycle = {
        name for name in MEANT if any(c.by_lifecycle for c in parse(SAMPLES[name]).changes)
    }

    assert by_lifecycle == {"s3-lifecycle-expiration.json", "eventbridge-lifecycle-expiration.json"}


@pytest.mark.parametrize("name", QUEUED)
def test_messages_have_what_lambda_hands_over(name: str) -> None:
    messages = QUEUED[name]

    assert len({message["messageId"] for message in messages}) == len(messages)
    for message in messages:
        assert message["eventSource"] == "aws:sqs"
        digest = hashlib.md5(message["body"].encode(), usedforsecurity=False).hexdigest()
        assert message["md5OfBody"] == digest


@pytest.mark.parametrize("record", RECORDS)
def test_records_have_what_s3_sends(record: dict[str, Any]) -> None:
    new = record["eventName"].startswith(("LifecycleExpiration:", "ObjectTagging:"))
    assert record["eventVersion"] == ("2.3" if new else "2.1")
    assert record["eventSource"] == "aws:s3"
    assert re.fullmatch(r"(Object\w+|LifecycleExpiration):\w+", record["eventName"])
    assert datetime.fromisoformat(record["eventTime"]).tzinfo
    assert set(record["responseElements"]) == {"x-amz-request-id", "x-amz-id-2"}
    described = record["s3"]
    assert described["s3SchemaVersion"] == "1.0"
    assert described["bucket"]["name"] == BUCKET
    assert described["bucket"]["arn"] == f"arn:aws:s3:::{BUCKET}"
    assert re.fullmatch(r"[0-9A-F]{18}", described["object"]["sequencer"])


@pytest.mark.parametrize("record", RECORDS)
def test_keys_are_encoded_as_s3_encodes_them(record: dict[str, Any]) -> None:
    key = record["s3"]["object"]["key"]

    assert quote_plus(unquote_plus(key), safe="/") == key


@pytest.mark.parametrize("record", RECORDS)
def test_what_was_made_has_a_size_and_the_rest_has_none(record: dict[str, Any]) -> None:
    made = record["eventName"].startswith(("ObjectCreated:", "ObjectRestore:"))

    assert ("size" in record["s3"]["object"]) is made


def test_the_encoded_key_tells_a_single_decoding_from_none_and_from_two() -> None:
    (key,) = keys("s3-put-encoded-key.json")

    assert key == "reports/2026 Q4/a+b = 100% of café, 東京 & %2F.txt"
    assert len({key, unquote_plus(key), quote_plus(key, safe="/")}) == 3


def test_two_of_several_records_are_for_one_key() -> None:
    assert keys("s3-put-multiple.json") == ["logs/app.log", "logs/app.log", "logs/audit.log"]
    first, second, _ = NOTIFICATIONS["s3-put-multiple.json"]
    assert first["s3"]["object"]["sequencer"] < second["s3"]["object"]["sequencer"]


def test_the_malformed_record_stands_beside_a_good_one() -> None:
    good, bad = NOTIFICATIONS["s3-put-malformed-record.json"]

    assert "key" in good["s3"]["object"]
    assert "key" not in bad["s3"]["object"]


def test_the_test_event_has_no_records() -> None:
    assert SAMPLES["s3-test-event.json"]["Event"] == "s3:TestEvent"
    assert "Records" not in SAMPLES["s3-test-event.json"]


def test_api_requests_are_of_both_payload_formats() -> None:
    rest, http = SAMPLES["api-v1.json"], SAMPLES["api-v2.json"]

    assert (rest["httpMethod"], rest["path"]) == ("POST", "/v1/replicate")
    assert rest["requestContext"]["httpMethod"] == "POST"
    assert (http["version"], http["routeKey"]) == ("2.0", "POST /v1/replicate")
    assert json.loads(rest["body"]) == json.loads(http["body"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(SAMPLES["api-v2-malformed-body.json"]["body"])
