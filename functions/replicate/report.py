"""Results and errors as JSON values: the same in responses and in log lines."""

from datetime import UTC
from typing import Any

from replicate.errors import ReplicationError
from replicate.protocol.model import Result


def result(done: Result) -> dict[str, Any]:
    """Describe a change that was applied or proved unnecessary."""
    described: dict[str, Any] = {
        "status": str(done.reason.status),
        "reason": str(done.reason),
        "source": _source(done),
        "destination": _destination(done),
        "bytes_copied": done.bytes_copied,
        "bytes_sent": done.bytes_sent,
        "verified_by": {
            "source": done.verified_by.source,
            "destination": done.verified_by.destination,
        },
        "elapsed_ms": round(done.elapsed_s * 1000, 1),
    }
    if done.execution:
        described["execution"] = done.execution
    if done.fields_dropped:
        described["fields_dropped"] = list(done.fields_dropped)
    return described


def error(failure: ReplicationError) -> dict[str, Any]:
    """Describe a failure."""
    return {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
    }


def _source(done: Result) -> dict[str, Any]:
    named: dict[str, Any] = {"bucket": done.ref.bucket, "key": done.ref.key}
    source = done.source
    if source is None:
        return named
    return named | {
        "etag": source.etag,
        "version_id": source.version_id,
        "size": source.size,
        "last_modified": source.last_modified.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def _destination(done: Result) -> dict[str, Any]:
    replica = done.replica
    if replica is None:
        return {"uri": done.uri}
    return {"uri": done.uri, "generation": str(replica.generation), "crc32c": replica.crc32c}
