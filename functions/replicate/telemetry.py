"""One log line and a few metrics for each change. No event, header or credential is logged."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from replicate import report
from replicate.entry.invocation import Change
from replicate.errors import CredentialsError, IntegrityError, InternalError, ReplicationError
from replicate.protocol.model import Reason, Result, Status

_METRICS_OF_STATUS = {
    Status.REPLICATED: "Replicated",
    Status.SKIPPED: "Skipped",
    Status.DELETED: "Deleted",
    Status.IN_PROGRESS: "InProgress",
}

_METRICS_OF_VERDICTS = {
    "missing": "ReconcileMissing",
    "different": "ReconcileDifferent",
    "extra": "ReconcileExtra",
}

_METRICS_OF_ERRORS = {
    IntegrityError.code: "IntegrityFailed",
    CredentialsError.code: "CredentialsFailed",
}
"""Errors that have a metric of their own, because monitoring.yaml has an alarm for it."""

_LIBRARIES = ("boto3", "botocore", "google", "requests", "urllib3")


def silence_libraries() -> None:
    """Let libraries log errors only, whatever level Lambda's ApplicationLogLevel sets for all.

    At DEBUG botocore logs the secret and signatures, and urllib3 the addresses of upload sessions.
    Their warnings quote addresses and responses too.
    """
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)


class Telemetry:
    """Records what became of each change. One thread uses it."""

    def __init__(self, service: str, namespace: str) -> None:
        self._logger = Logger(service=service)
        self._metrics = Metrics(service=service, namespace=namespace)

    @contextmanager
    def invocation(self, request_id: str) -> Iterator[None]:
        """Mark all lines with the invocation's ID, and write the metrics at its end."""
        self._logger.append_keys(function_request_id=request_id)
        try:
            yield
        finally:
            if self._metrics.metric_set:
                self._metrics.flush_metrics()

    def record(self, change: Change, result: Result | ReplicationError, now: datetime) -> None:
        """Record how a change ended at `now`."""
        if isinstance(result, ReplicationError):
            self._failed(result, {"bucket": change.ref.bucket, "key": change.ref.key})
        else:
            self._succeeded(change, result, now)

    def failed_without_object(self, error: ReplicationError) -> None:
        """Record a failure of no single object: of reading an event, of a queue, or of a step."""
        self._failed(error, None)

    def received(self, count: int) -> None:
        """Record how many messages came first-hand from S3."""
        if count:
            self._count("EventsReceived", count)

    def oldest_failure(self, age: timedelta | None) -> None:
        """Record the age of the oldest message that failed and is delivered again, if one is."""
        if age is not None:
            self._metrics.add_metric("OldestFailure", MetricUnit.Seconds, age.total_seconds())

    def stepped(self, step: str, result: Mapping[str, Any]) -> None:
        """Record the end of a step of a reconcile."""
        self._logger.info("reconcile: %s", step, extra={"status": "reconciled", "result": result})

    def reconciled(self, counts: Mapping[str, int], repeated: int | None) -> None:
        """Record a complete reconcile.

        `repeated` are the differences of a report, if the report before it found some, too.
        """
        self._count("ReconcileCompleted")
        for verdict, metric in _METRICS_OF_VERDICTS.items():
            self._count(metric, counts[verdict])
        if repeated is not None:
            self._count("ReconcileRepeated", repeated)

    def _succeeded(self, change: Change, result: Result, now: datetime) -> None:
        status = result.reason.status
        ids = {
            "s3": result.source.request_id if result.source else None,
            "gcs": result.replica.request_id if result.replica else None,
        }
        self._count(_METRICS_OF_STATUS[status])
        if status is Status.REPLICATED or result.bytes_sent:  # also of copies that others overtook
            self._count_bytes("BytesReplicated", result.bytes_copied)
            self._count_bytes("EgressBytes", result.bytes_sent)
            self._count_bytes("EgressSaved", result.bytes_copied - result.bytes_sent)
        if status is Status.REPLICATED:
            if result.reason is Reason.FOREIGN_OVERWRITTEN:
                self._count("ForeignOverwritten")
            if result.fields_dropped:
                self._count("FieldsDropped", len(result.fields_dropped))
        if status in {Status.REPLICATED, Status.DELETED} and change.occurred_at is not None:
            lag_s = max(0.0, (now - change.occurred_at).total_seconds())
            self._metrics.add_metric("ReplicationLag", MetricUnit.Seconds, lag_s)
        line = report.result(result) | {"request_ids": ids}
        self._logger.info("%s: %s", status, result.reason, extra=line)

    def _failed(self, error: ReplicationError, source: dict[str, Any] | None) -> None:
        """Log a failure, with the stack of the defect that caused it, if one did."""
        line = {
            "status": "failed",
            "source": source,
            "error": report.error(error),
            "request_id": error.request_id,
        }
        defect = error.__cause__ if isinstance(error, InternalError) else None
        self._logger.error("failed: %s", error.code, exc_info=defect, extra=line)
        self._count("Failed")
        if error.code in _METRICS_OF_ERRORS:
            self._count(_METRICS_OF_ERRORS[error.code])

    def _count_bytes(self, name: str, count: int) -> None:
        self._metrics.add_metric(name, MetricUnit.Bytes, count)

    def _count(self, name: str, count: int = 1) -> None:
        self._metrics.add_metric(name, MetricUnit.Count, count)
