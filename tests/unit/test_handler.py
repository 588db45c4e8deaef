"""The handler: how invocations are replicated, answered and logged."""

import json
import threading
from typing import Any

import pytest
from fakes import FakeGcs, FakeS3
from memory import Context, FailingSource, MemoryStores, sample_event

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


def memory_stores(*keys: str, failures: dict[str, Exception] | None = None) -> MemoryStores:
    """Return stores in which S3 has an object for each key; some keys fail."""
    stores = MemoryStores(
        s3=FakeS3(), gcs=FakeGcs(), wrap=lambda source: FailingSource(source, failures or {})
    )
    for key in keys:
        stores.s3.put(SourceRef(BUCKET, key), f"bytes of {key}".encode())
    return stores


class BarrierSource(FailingSource):
    """A source whose first `head` waits until all others are waiting too."""

    def __init__(self, source: Source, barrier: threading.Barrier) -> None:
        super().__init__(source, {})
        self._barrier: threading.Barrier | None = barrier

    def head(self, ref: SourceRef) -> SourceObject | None:
        if self._barrier is not None:
            self._barrier.wait()
            self._barrier = None
        return super().head(ref)


def s3_notification(*keys: str) -> dict[str, Any]:
    (record,) = sample_event("s3-put")["Records"]
    return {
        "Records": [
            record | {"s3": record["s3"] | {"object": record["s3"]["object"] | {"key": key}}}
            for key in keys
        ]
    }


def sqs_event(*events: object) -> dict[str, Any]:
    return {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": f"m{number}", "body": json.dumps(event)}
            for number, event in enumerate(events)
        ]
    }


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_notification_is_replicated_and_the_result_is_returned() -> None:
    stores = memory_stores("a")
    (result,) = stores.function().handle(s3_notification("a"), Context())["results"]
    source, replica = stores.s3.head(SourceRef(BUCKET, "a")), stores.gcs.head("a")
    assert source is not None
    assert replica is not None
    assert stores.gcs.objects["a"].data == b"bytes of a"
    elapsed = result.pop("elapsed_ms")
    assert elapsed >= 0
    assert result == {
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
        "bytes_sent": 10,
        "verified_by": {"source": "etag-md5", "destination": "crc32c"},
    }


def test_second_delivery_is_skipped() -> None:
    function = memory_stores("a").function()
    function.handle(s3_notification("a"), Context())
    (result,) = function.handle(s3_notification("a"), Context())["results"]
    assert (result["status"], result["reason"], result["bytes_copied"]) == ("skipped", "current", 0)


def test_invocation_result_is_json() -> None:
    result = (
        memory_stores("a", "ü").function().handle(s3_notification("a", "%C3%BC", "gone"), Context())
    )
    assert [r["source"]["key"] for r in json.loads(json.dumps(result))["results"]] == [
        "a",
        "ü",
        "gone",
    ]


def test_failed_record_does_not_stop_the_others_and_the_error_lists_all_failures() -> None:
    stores = memory_stores(
        "a",
        "b",
        "c",
        failures={"x": SourceArchivedError("frozen"), "y": SourceUnavailableError("down")},
    )
    with pytest.raises(BatchFailedError) as caught:
        stores.function().handle(s3_notification("x", "a", "y", "b", "c"), Context())
    assert set(stores.gcs.objects) == {"a", "b", "c"}
    assert caught.value.message.splitlines() == [
        "2 of 5 changes failed:",
        f"s3://{BUCKET}/x: source_archived: frozen",
        f"s3://{BUCKET}/y: source_unavailable: down",
    ]


def test_malformed_record_is_listed_in_the_error() -> None:
    event = sample_event("s3-put-malformed-record")
    stores = memory_stores()
    with pytest.raises(BatchFailedError, match=r"invalid_event: Records\["):
        stores.function().handle(event, Context())


def test_unexpected_exception_in_one_change_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stores = memory_stores("a", failures={"x": ZeroDivisionError("surprise")})
    with pytest.raises(BatchFailedError, match=r"internal_error.*see its log") as caught:
        stores.function().handle(s3_notification("x", "a"), Context())
    assert "surprise" not in caught.value.message
    assert set(stores.gcs.objects) == {"a"}
    assert any("ZeroDivisionError" in json.dumps(line) for line in log_lines(capsys))


def test_s3_test_event_is_acknowledged_without_a_result() -> None:
    stores = memory_stores()
    assert stores.function().handle(sample_event("s3-test-event"), Context()) == {"results": []}


def test_unsupported_event_raises_and_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InvalidEventError):
        memory_stores().function().handle(sample_event("not-ours"), Context())
    assert [line["Failed"] for line in log_lines(capsys) if "Failed" in line] == [[1.0]]


def test_batch_reports_exactly_the_messages_that_failed() -> None:
    failing = {"k2", "k5", "k9"}
    stores = memory_stores(
        *(f"k{n}" for n in range(10)),
        failures={key: SourceUnavailableError("down") for key in failing},
    )
    event = sqs_event(*(s3_notification(f"k{n}") for n in range(10)))
    response = stores.function().handle(event, Context())
    assert response == {
        "batchItemFailures": [
            {"itemIdentifier": "m2"},
            {"itemIdentifier": "m5"},
            {"itemIdentifier": "m9"},
        ]
    }
    assert set(stores.gcs.objects) == {f"k{n}" for n in range(10)} - failing


def test_poison_message_fails_alone() -> None:
    stores = memory_stores("a")
    event = sqs_event({"nonsense": True}, s3_notification("a"))
    response = stores.function().handle(event, Context())
    assert response == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert set(stores.gcs.objects) == {"a"}


def test_permanent_failure_is_reported_so_that_sqs_moves_it_to_the_dead_letter_queue() -> None:
    stores = memory_stores(failures={"x": SourceArchivedError("frozen")})
    response = stores.function().handle(sqs_event(s3_notification("x")), Context())
    assert response == {"batchItemFailures": [{"itemIdentifier": "m0"}]}


@pytest.mark.parametrize("count", [2, 10])
def test_keys_of_a_batch_are_replicated_in_parallel(count: int) -> None:
    """The barrier breaks unless all runs read at the same time."""
    barrier = threading.Barrier(count, timeout=10)
    keys = [f"k{number}" for number in range(count)]
    stores = memory_stores(*keys)
    stores.wrap = lambda source: BarrierSource(source, barrier)
    response = stores.function().handle(
        sqs_event(*(s3_notification(key) for key in keys)), Context()
    )
    assert response == {"batchItemFailures": []}
    assert set(stores.gcs.objects) == set(keys)


def test_messages_of_one_key_are_replicated_once_and_fail_together() -> None:
    stores = memory_stores(failures={"x": SourceUnavailableError("down")})
    response = stores.function().handle(
        sqs_event(s3_notification("x"), s3_notification("x")), Context()
    )
    assert [f["itemIdentifier"] for f in response["batchItemFailures"]] == ["m0", "m1"]


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
def test_batch_operations_response_has_code_and_text_for_the_completion_report(
    key: str, code: str, text: str
) -> None:
    stores = memory_stores(
        "a", failures={"x": SourceArchivedError("frozen"), "y": SourceUnavailableError("down")}
    )
    event = {
        "invocationSchemaVersion": "2.0",
        "invocationId": "i",
        "job": {"id": "j"},
        "tasks": [{"taskId": "t", "s3Key": key, "s3VersionId": None, "s3Bucket": BUCKET}],
    }
    response = stores.function().handle(event, Context())
    (result,) = response.pop("results")
    assert response == {
        "invocationSchemaVersion": "2.0",
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": "i",
    }
    assert result["taskId"] == "t"
    assert result["resultCode"] == code
    assert result["resultString"].startswith(text)


def test_log_has_only_one_line_per_change_and_the_metrics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stores = memory_stores(
        "a", "b", failures={"x": SourceUnavailableError("down", request_id="S3ID")}
    )
    context = Context()
    with pytest.raises(BatchFailedError):
        stores.function().handle(s3_notification("a", "b", "x"), context)
    *changes, metrics = log_lines(capsys)
    assert sorted(line["message"] for line in changes) == [
        "failed: source_unavailable",
        "replicated: created",
        "replicated: created",
    ]
    assert {line["function_request_id"] for line in changes} == {context.aws_request_id}
    assert [line["request_id"] for line in changes if line["level"] == "ERROR"] == ["S3ID"]
    assert metrics["Replicated"] == [1.0, 1.0]
    assert metrics["BytesReplicated"] == [10.0, 10.0]
    assert metrics["Failed"] == [1.0]
    assert len(metrics["ReplicationLag"]) == 2
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


def test_events_that_came_first_hand_from_s3_are_counted_by_message_whatever_becomes_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stores = memory_stores("a", failures={"x": SourceUnavailableError("down")})
    nomination = {"nomination": {"bucket": BUCKET, "key": "a"}}
    batch = sqs_event(s3_notification("a", "x"), nomination, s3_notification("x"), "no event")
    stores.function().handle(batch, Context())
    (metrics,) = [line for line in log_lines(capsys) if "_aws" in line]
    assert metrics["EventsReceived"] == [2]
    stores.function().handle(sqs_event(nomination), Context())
    assert "EventsReceived" not in capsys.readouterr().out


def test_invocation_fails_when_it_is_out_of_time() -> None:
    with pytest.raises(BatchFailedError, match="out_of_time"):
        memory_stores("a").function().handle(s3_notification("a"), Context(remaining_ms=1000))


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
def test_deletes_are_replicated_only_when_enabled(
    *, environ: dict[str, str], event_name: str, kept: bool
) -> None:
    stores = memory_stores("a")
    stores.environ = environ
    function = stores.function()
    function.handle(s3_notification("a"), Context())
    stores.s3.delete(SourceRef(BUCKET, "a"))
    event = s3_notification("a")
    event["Records"][0]["eventName"] = event_name
    (result,) = function.handle(event, Context())["results"]
    assert ("a" in stores.gcs.objects) == kept
    assert result["status"] == ("skipped" if kept else "deleted")


@pytest.mark.parametrize("deletes", ["false", "true"])
def test_version_that_is_current_again_is_replicated_in_every_mode_of_deletions(
    deletes: str,
) -> None:
    stores = memory_stores()
    stores.s3 = FakeS3(versioned=True)
    stores.environ = {"REPLICATE_DELETES": deletes}
    function, ref = stores.function(), SourceRef(BUCKET, "a")
    for data in (b"first", b"second"):
        stores.s3.put(ref, data)
    event = s3_notification("a")
    function.handle(event, Context())
    stores.s3.drop_newest(ref)
    event["Records"][0]["eventName"] = "ObjectRemoved:Delete"
    function.handle(event, Context())
    assert stores.gcs.objects["a"].data == b"first"


def test_prefix_and_storage_class_are_applied() -> None:
    stores = memory_stores("a")
    stores.environ = {"GCS_KEY_PREFIX": "backup/", "STORAGE_CLASS_MAP": "STANDARD=NEARLINE"}
    stores.function().handle(s3_notification("a"), Context())
    assert stores.gcs.objects["backup/a"].storage_class == "NEARLINE"
    (attributes,) = [s.replica.attributes for s in stores.gcs.objects.values()]
    assert mapping.is_replica_of(attributes.metadata, SourceRef(BUCKET, "a"))
