"""One log line and a few metrics per change: never an event, a header or a credential."""

import logging
import threading
from datetime import datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from replicate.errors import CredentialsError, IntegrityError, ReplicationError
from replicate.protocol.model import Outcome, SourceRef, Status

_ALARMING = {
    IntegrityError.code: "IntegrityFailed",
    CredentialsError.code: "CredentialsFailed",
}
"""Failures that are worth an alarm of their own."""

_LIBRARIES = ("boto3", "botocore", "google", "requests", "urllib3")


def silence_libraries() -> None:
    """Let libraries log errors only, whatever level Lambda's ApplicationLogLevel sets for all.

    At DEBUG botocore logs the secret and signatures, and urllib3 the addresses of upload sessions.
    Their warnings quote addresses and responses too.
    """
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)


class Observer:
    """Tells what became of each change. Safe across threads, between `begin` and `end`."""

    def __init__(self, service: str, namespace: str) -> None:
        self._logger = Logger(service=service)
        self._lock = threading.Lock()
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
        self._add(outcome.status.capitalize(), MetricUnit.Count, 1)
        if outcome.status is Status.REPLICATED:
            self._add("BytesReplicated", MetricUnit.Bytes, outcome.bytes_copied)
        if outcome.status is Status.REPLICATED and outcome.fields_dropped:
            self._add("FieldsDropped", MetricUnit.Count, len(outcome.fields_dropped))
        if outcome.status is not Status.SKIPPED and occurred_at is not None:
            lag_s = max(0.0, (now - occurred_at).total_seconds())
            self._add("ReplicationLag", MetricUnit.Seconds, lag_s)

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
        self._add("Failed", MetricUnit.Count, 1)
        if error.code in _ALARMING:
            self._add(_ALARMING[error.code], MetricUnit.Count, 1)

    def bug(self, ref: SourceRef, exception: Exception) -> None:
        """A change met an exception that nobody expected: its stack belongs in the log."""
        self._logger.error(
            "failed: internal_error",
            exc_info=exception,
            extra={"status": "failed", "source": {"bucket": ref.bucket, "key": ref.key}},
        )
        self._add("Failed", MetricUnit.Count, 1)

    def end(self) -> None:
        """Write what was counted."""
        if self._metrics.metric_set:
            self._metrics.flush_metrics()

    def _add(self, name: str, unit: MetricUnit, value: float) -> None:
        with self._lock:
            self._metrics.add_metric(name, unit, value)
