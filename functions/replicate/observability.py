"""One log line and a few metrics per change: never an event, a header or a credential."""

from datetime import datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from replicate.errors import ReplicationError
from replicate.objects import Outcome, SourceRef, Status


class Observer:
    """Tells what became of each change. Not safe across threads."""

    def __init__(self, service: str, namespace: str) -> None:
        self._logger = Logger(service=service)
        self._metrics = Metrics(service=service, namespace=namespace)

    def begin(self, request_id: str) -> None:
        """All lines from now on belong to this invocation."""
        self._logger.append_keys(function_request_id=request_id)

    def done(
        self, outcome: Outcome, told: dict[str, Any], occurred_at: datetime | None, now: datetime
    ) -> None:
        """A change was carried out or proved unnecessary."""
        ids = {
            "s3": outcome.source.request_id if outcome.source else None,
            "gcs": outcome.replica.request_id if outcome.replica else None,
        }
        self._logger.info(
            "%s: %s", outcome.status, outcome.reason, extra={**told, "request_ids": ids}
        )
        self._count(outcome.status.capitalize())
        if outcome.status is Status.REPLICATED:
            self._metrics.add_metric("BytesReplicated", MetricUnit.Bytes, outcome.bytes_copied)
        if outcome.status is not Status.SKIPPED and occurred_at is not None:
            lag_s = max(0.0, (now - occurred_at).total_seconds())
            self._metrics.add_metric("ReplicationLag", MetricUnit.Seconds, lag_s)

    def failed(self, ref: SourceRef | None, error: ReplicationError, told: dict[str, Any]) -> None:
        """A change failed; Lambda's retry, the failure destination or the caller has it now."""
        source = {"bucket": ref.bucket, "key": ref.key} if ref else None
        self._logger.error(
            "failed: %s",
            error.code,
            extra={
                "status": "failed",
                "source": source,
                "error": told,
                "request_id": error.request_id,
            },
        )
        self._count("Failed")

    def bug(self, ref: SourceRef, exception: Exception) -> None:
        """A change met an exception that nobody expected: its stack belongs in the log."""
        self._logger.error(
            "failed: internal_error",
            exc_info=exception,
            extra={"status": "failed", "source": {"bucket": ref.bucket, "key": ref.key}},
        )
        self._count("Failed")

    def end(self) -> None:
        """Write what was counted."""
        if self._metrics.metric_set:
            self._metrics.flush_metrics()

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name, MetricUnit.Count, 1)
