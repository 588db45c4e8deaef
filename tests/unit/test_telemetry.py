"""The metrics and the log line of a change: names, units, values and request ids."""

import json
import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import MODIFIED, REF, make_replica, make_source

from replicate.entry.invocation import Change
from replicate.errors import (
    CredentialsError,
    DestinationForbiddenError,
    IntegrityError,
    InternalError,
    InvalidEventError,
    InvalidNameError,
    ReplicationError,
)
from replicate.protocol.model import Reason, Result, SourceRef, VerifiedBy
from replicate.telemetry import Telemetry, silence_libraries

NOW = MODIFIED + timedelta(seconds=90, milliseconds=500)


def make_result(reason: Reason = Reason.CREATED, **fields: Any) -> Result:  # noqa: ANN401 - any of its fields
    defaults: dict[str, Any] = {
        "ref": REF,
        "uri": "gs://replica/key",
        "reason": reason,
        "source": make_source(request_id="S3ID"),
        "replica": make_replica(request_id="GCSID"),
        "bytes_copied": 5,
        "bytes_sent": 5,
        "verified_by": VerifiedBy("etag-md5", "crc32c"),
    }
    return Result(**(defaults | fields))


class TelemetryReader:
    """Records one change, and reads what was written to standard output."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def record(
        self, result: Result | ReplicationError, occurred_at: datetime | None = MODIFIED
    ) -> tuple[dict[str, Any], dict[str, tuple[str, list[float]]]]:
        """Return the log line, and each metric's unit and values."""
        telemetry = Telemetry(f"test-{uuid.uuid4()}", "Test")
        with telemetry.invocation("an-invocation"):
            telemetry.record(Change(REF, occurred_at), result, NOW)
        line, *metric_lines = [
            json.loads(text) for text in self._capsys.readouterr().out.splitlines()
        ]
        if not metric_lines:
            return line, {}
        (metrics,) = metric_lines
        (directive,) = metrics["_aws"]["CloudWatchMetrics"]
        return line, {m["Name"]: (m["Unit"], metrics[m["Name"]]) for m in directive["Metrics"]}


@pytest.fixture
def reader(capsys: pytest.CaptureFixture[str]) -> TelemetryReader:
    return TelemetryReader(capsys)


def test_replication_is_counted_with_its_bytes_and_its_lag(reader: TelemetryReader) -> None:
    _, metrics = reader.record(make_result(bytes_copied=1234, bytes_sent=234))
    assert metrics == {
        "Replicated": ("Count", [1.0]),
        "BytesReplicated": ("Bytes", [1234.0]),
        "EgressBytes": ("Bytes", [234.0]),
        "EgressSaved": ("Bytes", [1000.0]),
        "ReplicationLag": ("Seconds", [90.5]),
    }


def test_deletion_is_counted_with_its_lag(reader: TelemetryReader) -> None:
    _, metrics = reader.record(make_result(Reason.DELETED, bytes_copied=0, bytes_sent=0))
    assert metrics == {"Deleted": ("Count", [1.0]), "ReplicationLag": ("Seconds", [90.5])}


def test_skipped_change_has_no_lag(reader: TelemetryReader) -> None:
    _, metrics = reader.record(make_result(Reason.CURRENT, bytes_sent=0, fields_dropped=("tag a",)))
    assert metrics == {"Skipped": ("Count", [1.0])}


def test_bytes_of_a_copy_that_another_run_overtook_are_counted(reader: TelemetryReader) -> None:
    _, metrics = reader.record(make_result(Reason.CURRENT, bytes_copied=0, bytes_sent=234))
    assert metrics == {
        "Skipped": ("Count", [1.0]),
        "BytesReplicated": ("Bytes", [0.0]),
        "EgressBytes": ("Bytes", [234.0]),
        "EgressSaved": ("Bytes", [-234.0]),
    }


def test_change_without_a_time_has_no_lag(reader: TelemetryReader) -> None:
    _, metrics = reader.record(make_result(), occurred_at=None)
    assert "ReplicationLag" not in metrics


def test_lag_is_not_negative_when_the_clock_is_behind(reader: TelemetryReader) -> None:
    _, metrics = reader.record(make_result(), occurred_at=NOW + timedelta(seconds=1))
    assert metrics["ReplicationLag"] == ("Seconds", [0.0])


def test_overwritten_foreign_object_is_counted(reader: TelemetryReader) -> None:
    line, metrics = reader.record(make_result(reason=Reason.FOREIGN_OVERWRITTEN))
    assert line["reason"] == "foreign_overwritten"
    assert metrics["ForeignOverwritten"] == ("Count", [1.0])
    assert "ForeignOverwritten" not in reader.record(make_result())[1]


def test_dropped_fields_are_counted_and_named(reader: TelemetryReader) -> None:
    line, metrics = reader.record(make_result(fields_dropped=("tag a", "content-type")))
    assert metrics["FieldsDropped"] == ("Count", [2.0])
    assert line["fields_dropped"] == ["tag a", "content-type"]


@pytest.mark.parametrize(
    ("error", "alarms"),
    [
        (IntegrityError("x"), {"IntegrityFailed"}),
        (CredentialsError("x"), {"CredentialsFailed"}),
        (DestinationForbiddenError("x"), set()),
    ],
)
def test_failure_is_counted_and_some_errors_have_their_own_metric(
    reader: TelemetryReader, error: ReplicationError, alarms: set[str]
) -> None:
    _, metrics = reader.record(error)
    assert metrics == dict.fromkeys({"Failed"} | alarms, ("Count", [1.0]))


def test_success_is_logged_with_both_request_ids(reader: TelemetryReader) -> None:
    line, _ = reader.record(make_result())
    assert line["request_ids"] == {"s3": "S3ID", "gcs": "GCSID"}
    assert line["function_request_id"] == "an-invocation"
    assert line["level"] == "INFO"


@pytest.mark.usefixtures("in_tokyo")
def test_time_of_the_source_is_logged_in_utc_in_every_time_zone(reader: TelemetryReader) -> None:
    line, _ = reader.record(make_result())
    assert line["source"]["last_modified"] == "2026-11-22T12:00:00Z"


def test_failure_is_logged_with_the_request_id_of_the_store(reader: TelemetryReader) -> None:
    line, _ = reader.record(DestinationForbiddenError("no", request_id="GCSID"))
    assert line["request_id"] == "GCSID"
    assert line["error"] == {"code": "destination_forbidden", "message": "no", "retryable": False}
    assert (line["status"], line["level"]) == ("failed", "ERROR")
    assert line["source"] == {"bucket": "source", "key": "key"}
    assert line["message"] == "failed: destination_forbidden"


def test_defect_is_counted_and_logged_with_the_object_and_the_stack(
    reader: TelemetryReader,
) -> None:
    error = InternalError("a defect")
    error.__cause__ = ZeroDivisionError("surprise")
    line, metrics = reader.record(error)
    assert metrics == {"Failed": ("Count", [1.0])}
    assert (line["status"], line["level"]) == ("failed", "ERROR")
    assert line["message"] == "failed: internal_error"
    assert line["source"] == {"bucket": "source", "key": "key"}
    assert "ZeroDivisionError: surprise" in line["exception"]


def test_rejected_event_is_counted_and_logged_without_an_object(
    capsys: pytest.CaptureFixture[str],
) -> None:
    telemetry = Telemetry(f"test-{uuid.uuid4()}", "Test")
    with telemetry.invocation("an-invocation"):
        telemetry.failed_without_object(InvalidEventError("no"))
    line, metrics = (json.loads(text) for text in capsys.readouterr().out.splitlines())
    assert metrics["Failed"] == [1.0]
    assert (line["status"], line["message"]) == ("failed", "failed: invalid_event")
    assert "source" not in line


@pytest.mark.parametrize("name", ["boto3", "botocore", "google", "requests", "urllib3"])
def test_libraries_log_errors_only(name: str) -> None:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        silence_libraries()
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)


def test_no_metadata_tag_or_header_of_the_object_is_logged(reader: TelemetryReader) -> None:
    source = make_source(
        metadata={"private": "PRIVATE"}, tags={"private": "PRIVATE"}, cache_control="PRIVATE"
    )
    line, _ = reader.record(make_result(source=source, replica=make_replica(source)))
    assert "PRIVATE" not in json.dumps(line)


def test_line_break_in_a_key_or_a_message_makes_no_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    forged = 'a\n{"status": "replicated"}\r\n"'
    ref = SourceRef("source", forged)
    telemetry = Telemetry(f"test-{uuid.uuid4()}", "Test")
    with telemetry.invocation("an-invocation"):
        telemetry.record(Change(ref), InvalidNameError(forged), NOW)
        telemetry.failed_without_object(InvalidEventError(forged))
    text = capsys.readouterr().out
    change, rejected, metrics = (json.loads(line) for line in text.removesuffix("\n").split("\n"))
    assert (change["source"]["key"], change["error"]["message"]) == (forged, forged)
    assert rejected["error"]["message"] == forged
    assert metrics["Failed"] == [1.0, 1.0]
    assert "\r" not in text


def test_deletion_is_logged_without_request_ids(reader: TelemetryReader) -> None:
    gone = replace(make_result(Reason.DELETED), source=None, replica=None)
    line, _ = reader.record(gone, occurred_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert line["request_ids"] == {"s3": None, "gcs": None}


def test_reconcile_writes_a_line_for_each_step_and_metrics_for_a_complete_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    telemetry = Telemetry(f"test-{uuid.uuid4()}", "Test")
    counts = {"missing": 3, "different": 2, "extra": 1, "equal": 7}
    with telemetry.invocation("an-invocation"):
        telemetry.stepped("report", {"ended": "differences"})
        telemetry.reconciled(counts, repeated=5)
    with telemetry.invocation("a repair"):
        telemetry.reconciled(counts, repeated=None)

    line, metrics, repair = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (line["message"], line["result"]) == ("reconcile: report", {"ended": "differences"})
    written = {name: metrics[name] for name in metrics if name.startswith("Reconcile")}
    assert written == {
        "ReconcileCompleted": [1],
        "ReconcileMissing": [3],
        "ReconcileDifferent": [2],
        "ReconcileExtra": [1],
        "ReconcileRepeated": [5],
    }
    assert "ReconcileRepeated" not in repair
