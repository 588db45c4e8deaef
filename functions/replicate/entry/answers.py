"""How each kind of delivery is answered, once it is known what became of every change."""

from collections.abc import Mapping
from typing import Any, assert_never

from replicate.entry.events import Delivery, Item, Kind
from replicate.errors import BatchFailedError, ReplicationError
from replicate.protocol.model import SourceRef

MAX_RESULT_CHARACTERS = 1024
"""S3 Batch Operations keeps no longer a text per task."""

Told = dict[str, Any]
"""A change that was carried out or proved unnecessary, as `report` tells it."""

Results = Mapping[SourceRef, Told | ReplicationError]


def answer(delivery: Delivery, results: Results) -> dict[str, Any]:
    """What Lambda is to give to whoever invoked us.

    Raises BatchFailedError where nobody reads an answer: only so a retry and the failure
    destination get the event.
    """
    match delivery.kind:
        case Kind.NOTIFICATION:
            return _notification(delivery, results)
        case Kind.QUEUE:
            failed = [item.id for item in delivery.items if _failures(item, results)]
            return {"batchItemFailures": [{"itemIdentifier": item_id} for item_id in failed]}
        case Kind.BATCH_OPERATIONS:
            return {
                "invocationSchemaVersion": delivery.schema_version,
                "treatMissingKeysAs": "PermanentFailure",
                "invocationId": delivery.invocation_id,
                "results": [_task(item, results) for item in delivery.items],
            }
        case _:
            assert_never(delivery.kind)


def _notification(delivery: Delivery, results: Results) -> dict[str, Any]:
    failures = [failure for item in delivery.items for failure in _failures(item, results)]
    if failures:
        done = sum(not isinstance(result, ReplicationError) for result in results.values())
        raise BatchFailedError(
            f"{len(failures)} of {len(failures) + done} changes failed:\n" + "\n".join(failures)
        )
    return {"results": list(results.values())}


def _task(item: Item, results: Results) -> dict[str, str]:
    """One line of a job's completion report."""
    result = item.malformed[0] if item.malformed else results[item.changes[0].ref]
    if not isinstance(result, ReplicationError):
        code = "Succeeded"
        text = f"{result['status']}: {result['reason']} {result['destination']['uri']}"
    else:
        code = "TemporaryFailure" if result.retryable else "PermanentFailure"
        text = f"{result.code}: {result.message}"
    return {"taskId": item.id, "resultCode": code, "resultString": text[:MAX_RESULT_CHARACTERS]}


def _failures(item: Item, results: Results) -> list[str]:
    """Why an item failed, a line for each reason; empty if it did not."""
    failures = [f"{error.code}: {error.message}" for error in item.malformed]
    for change in item.changes:
        result = results[change.ref]
        if isinstance(result, ReplicationError):
            failures.append(f"{change.ref.uri}: {result.code}: {result.message}")
    return failures
