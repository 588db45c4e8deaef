"""What is counted and logged of a change: names, units, values, ids, and nothing besides."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import MODIFIED, REF, a_replica, a_source

from replicate.entry.invocation import Change
from replicate.errors import (
    CredentialsError,
    DestinationForbiddenError,
    IntegrityError,
    ReplicationError,
)
from replicate.protocol.model import Reason, Result, VerifiedBy
from replicate.telemetry import Telemetry

NOW = MODIFIED + timedelta(seconds=90, milliseconds=500)


def a_result(reason: Reason = Reason.CREATED, **said: Any) -> Result:  # noqa: ANN401 - any of its fields
    fields: dict[str, Any] = {
        "ref": REF,
        "uri": "gs://replica/key",
        "reason": reason,
        "source": a_source(request_id="S3ID"),
        "replica": a_replica(request_id="GCSID"),
        "bytes_copied": 5,
        "verified_by": VerifiedBy("etag-md5", "crc32c"),
    }
    return Result(**(fields | said))


class Told:
    """Records one change, and reads all that was written about it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def record(
        self, result: Result | ReplicationError, occurred_at: datetime | None = MODIFIED
    ) -> tuple[dict[str, Any], dict[str, tuple[str, list[float]]]]:
        """Return the log line, and each metric's unit and values."""
        telemetry = Telemetry(f"test-{uuid.uuid4()}", "Test")
        with telemetry.invocation("an-invocation"):
            telemetry.record(Change(REF, occurred_at), result, NOW)
        line, *counted = [json.loads(text) for text in self._capsys.readouterr().out.splitlines()]
        if not counted:
            return line, {}
        (metrics,) = counted
        (described,) = metrics["_aws"]["CloudWatchMetrics"]
        return line, {m["Name"]: (m["Unit"], metrics[m["Name"]]) for m in described["Metrics"]}


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(capsys)


def test_a_replication_is_counted_with_its_bytes_and_its_lag(told: Told) -> None:
    _, metrics = told.record(a_result(bytes_copied=1234))
    assert metrics == {
        "Replicated": ("Count", [1.0]),
        "BytesReplicated": ("Bytes", [1234.0]),
        "ReplicationLag": ("Seconds", [90.5]),
    }


def test_a_deletion_is_counted_with_its_lag(told: Told) -> None:
    _, metrics = told.record(a_result(Reason.DELETED, bytes_copied=0))
    assert metrics == {"Deleted": ("Count", [1.0]), "ReplicationLag": ("Seconds", [90.5])}


def test_what_was_skipped_has_no_lag(told: Told) -> None:
    _, metrics = told.record(a_result(Reason.CURRENT, fields_dropped=("tag a",)))
    assert metrics == {"Skipped": ("Count", [1.0])}


def test_a_change_without_a_time_has_no_lag(told: Told) -> None:
    _, metrics = told.record(a_result(), occurred_at=None)
    assert set(metrics) == {"Replicated", "BytesReplicated"}


def test_a_clock_that_is_behind_makes_no_negative_lag(told: Told) -> None:
    _, metrics = told.record(a_result(), occurred_at=NOW + timedelta(seconds=1))
    assert metrics["ReplicationLag"] == ("Seconds", [0.0])


def test_fields_that_were_dropped_are_counted_and_named(told: Told) -> None:
    line, metrics = told.record(a_result(fields_dropped=("tag a", "content-type")))
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
def test_a_failure_is_counted_and_some_have_an_alarm_of_their_own(
    told: Told, error: ReplicationError, alarms: set[str]
) -> None:
    _, metrics = told.record(error)
    assert metrics == dict.fromkeys({"Failed"} | alarms, ("Count", [1.0]))


def test_the_line_of_a_success_has_both_request_ids(told: Told) -> None:
    line, _ = told.record(a_result())
    assert line["request_ids"] == {"s3": "S3ID", "gcs": "GCSID"}
    assert line["function_request_id"] == "an-invocation"
    assert line["level"] == "INFO"


def test_the_line_of_a_failure_has_the_request_id_of_the_store_that_refused(told: Told) -> None:
    line, _ = told.record(DestinationForbiddenError("no", request_id="GCSID"))
    assert line["request_id"] == "GCSID"
    assert line["error"] == {"code": "destination_forbidden", "message": "no", "retryable": False}
    assert line["level"] == "ERROR"


def test_no_metadata_tag_or_header_of_the_object_is_logged(told: Told) -> None:
    source = a_source(
        metadata={"private": "PRIVATE"}, tags={"private": "PRIVATE"}, cache_control="PRIVATE"
    )
    line, _ = told.record(a_result(source=source, replica=a_replica(source)))
    assert "PRIVATE" not in json.dumps(line)


def test_a_source_that_is_gone_has_no_ids(told: Told) -> None:
    gone = replace(a_result(Reason.DELETED), source=None, replica=None)
    line, _ = told.record(gone, occurred_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert line["request_ids"] == {"s3": None, "gcs": None}
