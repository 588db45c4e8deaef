"""What is counted and logged of a change: names, units, values, ids, and nothing besides."""

import json
import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pytest
from builders import MODIFIED, REF, a_replica, a_source

from replicate.entry import report
from replicate.errors import (
    CredentialsError,
    DestinationForbiddenError,
    IntegrityError,
    ReplicationError,
)
from replicate.protocol.mapping import Naming
from replicate.protocol.model import Outcome, Reason, Status, VerifiedBy
from replicate.telemetry import Observer, silence_libraries

NOW = MODIFIED + timedelta(seconds=90, milliseconds=500)


def an_outcome(status: Status, **said: Any) -> Outcome:  # noqa: ANN401 - any of its fields
    fields: dict[str, Any] = {
        "ref": REF,
        "name": "key",
        "status": status,
        "reason": Reason.CREATED,
        "source": a_source(request_id="S3ID"),
        "replica": a_replica(request_id="GCSID"),
        "bytes_copied": 5,
        "verified_by": VerifiedBy("etag-md5", "crc32c"),
    }
    return Outcome(**(fields | said))


class Told:
    """All that an observer wrote about one change."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    @cached_property
    def observer(self) -> Observer:
        """Made in the test itself, whose standard output it writes to."""
        observer = Observer(f"test-{uuid.uuid4()}", "Test")
        observer.begin("an-invocation")
        return observer

    def read(self) -> tuple[dict[str, Any], dict[str, tuple[str, list[float]]]]:
        """The log line; and each metric's unit and values."""
        self.observer.end()
        line, *counted = [json.loads(text) for text in self._capsys.readouterr().out.splitlines()]
        if not counted:
            return line, {}
        (metrics,) = counted
        (described,) = metrics["_aws"]["CloudWatchMetrics"]
        return line, {m["Name"]: (m["Unit"], metrics[m["Name"]]) for m in described["Metrics"]}

    def done(self, outcome: Outcome, occurred_at: datetime | None = MODIFIED) -> None:
        told = report.outcome(outcome, Naming("replica"), 0.123456)
        self.observer.done(outcome, told, occurred_at, NOW)

    def failed(self, error: ReplicationError) -> None:
        self.observer.failed(REF, error, report.error(error))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(capsys)


def test_a_replication_is_counted_with_its_bytes_and_its_lag(told: Told) -> None:
    told.done(an_outcome(Status.REPLICATED, bytes_copied=1234))
    _, metrics = told.read()
    assert metrics == {
        "Replicated": ("Count", [1.0]),
        "BytesReplicated": ("Bytes", [1234.0]),
        "ReplicationLag": ("Seconds", [90.5]),
    }


def test_a_deletion_is_counted_with_its_lag(told: Told) -> None:
    told.done(an_outcome(Status.DELETED, bytes_copied=0))
    _, metrics = told.read()
    assert metrics == {"Deleted": ("Count", [1.0]), "ReplicationLag": ("Seconds", [90.5])}


def test_what_was_skipped_has_no_lag(told: Told) -> None:
    told.done(an_outcome(Status.SKIPPED, fields_dropped=("tag a",)))
    _, metrics = told.read()
    assert metrics == {"Skipped": ("Count", [1.0])}


def test_a_change_without_a_time_has_no_lag(told: Told) -> None:
    told.done(an_outcome(Status.REPLICATED), occurred_at=None)
    _, metrics = told.read()
    assert set(metrics) == {"Replicated", "BytesReplicated"}


def test_a_clock_that_is_behind_makes_no_negative_lag(told: Told) -> None:
    told.done(an_outcome(Status.REPLICATED), occurred_at=NOW + timedelta(seconds=1))
    _, metrics = told.read()
    assert metrics["ReplicationLag"] == ("Seconds", [0.0])


def test_fields_that_were_dropped_are_counted_and_named(told: Told) -> None:
    told.done(an_outcome(Status.REPLICATED, fields_dropped=("tag a", "content-type")))
    line, metrics = told.read()
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
    told.failed(error)
    _, metrics = told.read()
    assert metrics == dict.fromkeys({"Failed"} | alarms, ("Count", [1.0]))


def test_the_line_of_a_success_has_both_request_ids(told: Told) -> None:
    told.done(an_outcome(Status.REPLICATED))
    line, _ = told.read()
    assert line["request_ids"] == {"s3": "S3ID", "gcs": "GCSID"}
    assert line["function_request_id"] == "an-invocation"
    assert line["elapsed_ms"] == 123.5
    assert line["level"] == "INFO"


@pytest.mark.usefixtures("in_tokyo")
def test_the_time_of_the_source_is_utc_wherever_the_function_runs(told: Told) -> None:
    told.done(an_outcome(Status.REPLICATED))
    line, _ = told.read()
    assert line["source"]["last_modified"] == "2026-11-22T12:00:00Z"


def test_the_line_of_a_failure_has_the_request_id_of_the_store_that_refused(told: Told) -> None:
    told.failed(DestinationForbiddenError("no", request_id="GCSID"))
    line, _ = told.read()
    assert line["request_id"] == "GCSID"
    assert line["error"] == {"code": "destination_forbidden", "message": "no", "retryable": False}
    assert (line["status"], line["level"]) == ("failed", "ERROR")
    assert line["source"] == {"bucket": "source", "key": "key"}
    assert line["message"] == "failed: destination_forbidden"


def test_a_defect_is_counted_and_its_line_names_the_object_and_the_stack(told: Told) -> None:
    told.observer.bug(REF, ZeroDivisionError("surprise"))
    line, metrics = told.read()
    assert metrics == {"Failed": ("Count", [1.0])}
    assert (line["status"], line["level"]) == ("failed", "ERROR")
    assert line["message"] == "failed: internal_error"
    assert line["source"] == {"bucket": "source", "key": "key"}
    assert "ZeroDivisionError: surprise" in line["exception"]


def test_a_failure_before_any_object_is_known_names_none(told: Told) -> None:
    told.observer.failed(None, ReplicationError("no"), report.error(ReplicationError("no")))
    line, metrics = told.read()
    assert metrics == {"Failed": ("Count", [1.0])}
    assert line["status"] == "failed"
    assert "source" not in line
    assert line["message"] == "failed: internal_error"


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


def test_no_metadata_tag_or_header_of_the_object_is_logged(told: Told) -> None:
    source = a_source(
        metadata={"private": "PRIVATE"}, tags={"private": "PRIVATE"}, cache_control="PRIVATE"
    )
    told.done(an_outcome(Status.REPLICATED, source=source, replica=a_replica(source)))
    line, _ = told.read()
    assert "PRIVATE" not in json.dumps(line)


def test_a_source_that_is_gone_has_no_ids(told: Told) -> None:
    gone = replace(an_outcome(Status.DELETED), source=None, replica=None)
    told.done(gone, occurred_at=datetime(2026, 1, 1, tzinfo=UTC))
    line, _ = told.read()
    assert line["request_ids"] == {"s3": None, "gcs": None}
