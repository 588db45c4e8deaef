"""The way in: what becomes of an invocation, and what is told about it."""

import json
import threading
from typing import Any

import pytest
from fakes import FakeGcs, FakeS3
from memory import Context, Failing, MemoryStores, a_sample

from replicate.errors import (
    BatchFailedError,
    InvalidEventError,
    SourceArchivedError,
    SourceUnavailableError,
)
from replicate.protocol import mapping
from replicate.protocol.model import SourceObject, SourceRef
from replicate.protocol.ports import Source

BUCKET = "my-source-bucket"


def stores(*keys: str, failures: dict[str, Exception] | None = None) -> MemoryStores:
    """Stores in which S3 has an object for each key."""
    made = MemoryStores(
        s3=FakeS3(), gcs=FakeGcs(), wrap=lambda source: Failing(source, failures or {})
    )
    for key in keys:
        made.s3.put(SourceRef(BUCKET, key), f"bytes of {key}".encode())
    return made


class Meeting(Failing):
    """A source at which all readers wait for each other, once."""

    def __init__(self, source: Source, meeting: threading.Barrier) -> None:
        super().__init__(source, {})
        self._meeting: threading.Barrier | None = meeting

    def head(self, ref: SourceRef) -> SourceObject | None:
        if self._meeting is not None:
            self._meeting.wait()
            self._meeting = None
        return super().head(ref)


def a_notification(*keys: str) -> dict[str, Any]:
    (record,) = a_sample("s3-put")["Records"]
    return {
        "Records": [
            record | {"s3": record["s3"] | {"object": record["s3"]["object"] | {"key": key}}}
            for key in keys
        ]
    }


def a_queue(*events: object) -> dict[str, Any]:
    return {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": f"m{number}", "body": json.dumps(event)}
            for number, event in enumerate(events)
        ]
    }


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_notification_replicates_and_tells_what_it_did() -> None:
    made = stores("a")
    (told,) = made.function().handle(a_notification("a"), Context())["results"]
    source, replica = made.s3.head(SourceRef(BUCKET, "a")), made.gcs.head("a")
    assert source is not None
    assert replica is not None
    assert made.gcs.objects["a"].data == b"bytes of a"
    elapsed = told.pop("elapsed_ms")
    assert elapsed >= 0
    assert told == {
        "status": "replicated",
        "reason": "created",
        "source": {
            "bucket": BUCKET,
            "key": "a",
            "etag": source.etag,
            "version_id": None,
            "size": 10,
            "last_modified": "2026-01-01T00:00:01Z",
        },
        "destination": {
            "uri": "gs://replica/a",
            "generation": str(replica.generation),
            "crc32c": replica.crc32c,
        },
        "bytes_copied": 10,
        "verified_by": {"source": "etag-md5", "destination": "crc32c"},
    }


def test_a_second_delivery_skips() -> None:
    function = stores("a").function()
    function.handle(a_notification("a"), Context())
    (told,) = function.handle(a_notification("a"), Context())["results"]
    assert (told["status"], told["reason"], told["bytes_copied"]) == ("skipped", "current", 0)


def test_the_result_of_an_invocation_is_json() -> None:
    result = stores("a", "ü").function().handle(a_notification("a", "%C3%BC", "gone"), Context())
    assert [r["source"]["key"] for r in json.loads(json.dumps(result))["results"]] == [
        "a",
        "ü",
        "gone",
    ]


def test_a_failing_record_hides_no_other_and_the_error_lists_all_that_failed() -> None:
    made = stores(
        "a",
        "b",
        "c",
        failures={"x": SourceArchivedError("frozen"), "y": SourceUnavailableError("down")},
    )
    with pytest.raises(BatchFailedError) as caught:
        made.function().handle(a_notification("x", "a", "y", "b", "c"), Context())
    assert set(made.gcs.objects) == {"a", "b", "c"}
    assert caught.value.message.splitlines() == [
        "2 of 5 changes failed:",
        f"s3://{BUCKET}/x: source_archived: frozen",
        f"s3://{BUCKET}/y: source_unavailable: down",
    ]


def test_a_malformed_record_hides_no_other_and_is_listed() -> None:
    event = a_sample("s3-put-malformed-record")
    made = stores()
    with pytest.raises(BatchFailedError, match=r"invalid_event: Records\["):
        made.function().handle(event, Context())


def test_a_defect_of_ours_in_one_change_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    made = stores("a", failures={"x": ZeroDivisionError("surprise")})
    with pytest.raises(BatchFailedError, match=r"internal_error.*see its log") as caught:
        made.function().handle(a_notification("x", "a"), Context())
    assert "surprise" not in caught.value.message
    assert set(made.gcs.objects) == {"a"}
    assert any("ZeroDivisionError" in json.dumps(line) for line in lines(capsys))


def test_the_test_event_is_acknowledged_and_nothing_is_done() -> None:
    made = stores()
    assert made.function().handle(a_sample("s3-test-event"), Context()) == {"results": []}


def test_an_event_that_is_none_of_ours_raises_and_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InvalidEventError):
        stores().function().handle(a_sample("not-ours"), Context())
    assert [line["Failed"] for line in lines(capsys) if "Failed" in line] == [[1.0]]


def test_a_batch_of_ten_with_three_failing_reports_exactly_those_three() -> None:
    failing = {"k2", "k5", "k9"}
    made = stores(
        *(f"k{n}" for n in range(10)),
        failures={key: SourceUnavailableError("down") for key in failing},
    )
    event = a_queue(*(a_notification(f"k{n}") for n in range(10)))
    answer = made.function().handle(event, Context())
    assert answer == {
        "batchItemFailures": [
            {"itemIdentifier": "m2"},
            {"itemIdentifier": "m5"},
            {"itemIdentifier": "m9"},
        ]
    }
    assert set(made.gcs.objects) == {f"k{n}" for n in range(10)} - failing


def test_a_poison_message_fails_alone() -> None:
    made = stores("a")
    event = a_queue({"nonsense": True}, a_notification("a"))
    answer = made.function().handle(event, Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert set(made.gcs.objects) == {"a"}


def test_a_permanent_failure_is_reported_too_so_that_it_ends_in_the_dead_letter_queue() -> None:
    made = stores(failures={"x": SourceArchivedError("frozen")})
    answer = made.function().handle(a_queue(a_notification("x")), Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}


@pytest.mark.parametrize("count", [2, 10])
def test_the_keys_of_a_batch_wait_for_the_network_and_not_for_each_other(count: int) -> None:
    """All runs are in the middle of reading at once, or the barrier breaks."""
    meeting = threading.Barrier(count, timeout=10)
    keys = [f"k{number}" for number in range(count)]
    made = stores(*keys)
    made.wrap = lambda source: Meeting(source, meeting)
    answer = made.function().handle(a_queue(*(a_notification(key) for key in keys)), Context())
    assert answer == {"batchItemFailures": []}
    assert set(made.gcs.objects) == set(keys)


def test_messages_about_one_key_are_one_run_and_fail_together() -> None:
    made = stores(failures={"x": SourceUnavailableError("down")})
    answer = made.function().handle(a_queue(a_notification("x"), a_notification("x")), Context())
    assert [f["itemIdentifier"] for f in answer["batchItemFailures"]] == ["m0", "m1"]


@pytest.mark.parametrize(
    ("key", "code", "text"),
    [
        ("a", "Succeeded", "replicated: created gs://replica/a"),
        ("gone", "Succeeded", "skipped: source_gone gs://replica/gone"),
        ("x", "PermanentFailure", "source_archived: frozen"),
        ("y", "TemporaryFailure", "source_unavailable: down"),
        ("%FF", "PermanentFailure", "invalid_event: "),
    ],
)
def test_batch_operations_are_answered_in_words_for_the_completion_report(
    key: str, code: str, text: str
) -> None:
    made = stores(
        "a", failures={"x": SourceArchivedError("frozen"), "y": SourceUnavailableError("down")}
    )
    event = {
        "invocationSchemaVersion": "2.0",
        "invocationId": "i",
        "job": {"id": "j"},
        "tasks": [{"taskId": "t", "s3Key": key, "s3VersionId": None, "s3Bucket": BUCKET}],
    }
    answer = made.function().handle(event, Context())
    (result,) = answer.pop("results")
    assert answer == {
        "invocationSchemaVersion": "2.0",
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": "i",
    }
    assert result["taskId"] == "t"
    assert result["resultCode"] == code
    assert result["resultString"].startswith(text)


def test_one_line_per_change_and_the_metrics_are_all_that_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = stores("a", "b", failures={"x": SourceUnavailableError("down", request_id="S3ID")})
    context = Context()
    with pytest.raises(BatchFailedError):
        made.function().handle(a_notification("a", "b", "x"), context)
    *changes, metrics = lines(capsys)
    assert sorted(line["message"] for line in changes) == [
        "failed: source_unavailable",
        "replicated: created",
        "replicated: created",
    ]
    assert {line["function_request_id"] for line in changes} == {context.aws_request_id}
    (failed,) = [line for line in changes if line["level"] == "ERROR"]
    assert failed["request_id"] == "S3ID"
    assert failed["source"] == {"bucket": BUCKET, "key": "x"}
    assert metrics["Replicated"] == [1.0, 1.0]
    assert metrics["BytesReplicated"] == [10.0, 10.0]
    assert metrics["Failed"] == [1.0]
    assert len(metrics["ReplicationLag"]) == 2
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


def test_out_of_time_is_a_failure_that_is_tried_again() -> None:
    with pytest.raises(BatchFailedError, match="out_of_time"):
        stores("a").function().handle(a_notification("a"), Context(remaining_ms=1000))


@pytest.mark.parametrize(
    ("environ", "event_name", "kept"),
    [
        ({}, "ObjectRemoved:Delete", True),
        ({"REPLICATE_DELETES": "true"}, "ObjectRemoved:Delete", False),
        ({"REPLICATE_DELETES": "true"}, "LifecycleExpiration:Delete", True),
        (
            {"REPLICATE_DELETES": "true", "REPLICATE_LIFECYCLE_DELETES": "true"},
            "LifecycleExpiration:Delete",
            False,
        ),
    ],
    ids=["off", "on", "by lifecycle: kept", "by lifecycle: on"],
)
def test_deletes_are_replicated_as_far_as_they_were_asked_for(
    *, environ: dict[str, str], event_name: str, kept: bool
) -> None:
    made = stores("a")
    made.environ = environ
    function = made.function()
    function.handle(a_notification("a"), Context())
    made.s3.delete(SourceRef(BUCKET, "a"))
    event = a_notification("a")
    event["Records"][0]["eventName"] = event_name
    (told,) = function.handle(event, Context())["results"]
    assert ("a" in made.gcs.objects) == kept
    assert told["status"] == ("skipped" if kept else "deleted")


def test_a_prefix_and_a_storage_class_are_applied() -> None:
    made = stores("a")
    made.environ = {"GCS_KEY_PREFIX": "backup/", "STORAGE_CLASS_MAP": "STANDARD=NEARLINE"}
    made.function().handle(a_notification("a"), Context())
    assert made.gcs.objects["backup/a"].storage_class == "NEARLINE"
    (attributes,) = [s.replica.attributes for s in made.gcs.objects.values()]
    assert mapping.is_replica_of(attributes.metadata, SourceRef(BUCKET, "a"))
