"""What is told about a change: the same facts in the answer, in the result and in the log."""

from datetime import UTC
from typing import Any

from replicate.errors import ReplicationError
from replicate.protocol.mapping import Naming
from replicate.protocol.model import Outcome, Replica, SourceObject, SourceRef


def outcome(done: Outcome, naming: Naming, elapsed_s: float) -> dict[str, Any]:
    """A change that was carried out or proved unnecessary, as JSON."""
    return {
        "status": str(done.status),
        "reason": str(done.reason),
        "source": _source(done.ref, done.source),
        "destination": _destination(naming.uri(done.name), done.replica),
        "bytes_copied": done.bytes_copied,
        "verified_by": {
            "source": done.verified_by.source,
            "destination": done.verified_by.destination,
        },
        "elapsed_ms": round(elapsed_s * 1000, 1),
        **({"fields_dropped": list(done.fields_dropped)} if done.fields_dropped else {}),
    }


def error(failure: ReplicationError) -> dict[str, Any]:
    """A failure, as JSON."""
    return {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
    }


def _source(ref: SourceRef, source: SourceObject | None) -> dict[str, Any]:
    named: dict[str, Any] = {"bucket": ref.bucket, "key": ref.key}
    if source is None:
        return named
    return named | {
        "etag": source.etag,
        "version_id": source.version_id,
        "size": source.size,
        "last_modified": source.last_modified.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def _destination(uri: str, replica: Replica | None) -> dict[str, Any]:
    if replica is None:
        return {"uri": uri}
    return {"uri": uri, "generation": str(replica.generation), "crc32c": replica.crc32c}
