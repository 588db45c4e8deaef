"""The steps of the state machine that copies large objects (statemachines/large-object.asl.json).

Each state invokes the function with `{"large": step, "bucket": …, "key": …}` and the state so far.
After PermanentError or WrongBytesError the machine sweeps and fails. It retries twice after
TransferError and BrokenTransferError, and more often after any other error, also when the
function's process was killed or ran out of time: Lambda has many names for that. When retries do
not help, it fails and keeps what is staged for the next execution.

`event` has what `execution_watch.facts` says of the event that started it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from replicate import report
from replicate.entry import execution_watch
from replicate.entry.invocation import Change
from replicate.entry.reading import reading, source_ref
from replicate.errors import IntegrityError, ReplicationError
from replicate.protocol.large import LargeCopy, Planned, max_rounds
from replicate.protocol.model import Precondition, Result
from replicate.protocol.scope import Scope
from replicate.step_errors import (
    BrokenTransferError,
    PermanentError,
    TransferError,
    TransientError,
    WrongBytesError,
)
from replicate.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class LargeObjects:
    """What the steps work on."""

    copy: LargeCopy
    scope: Scope


def step(
    build: Callable[[], LargeObjects], telemetry: Telemetry, event: Mapping[str, Any]
) -> dict[str, Any]:
    """Run one step and return the new state. Raise one of `step_errors`."""
    change: Change | None = None
    try:
        with reading("a step of the state machine"):
            ref = source_ref(event["bucket"], event["key"])
            known = execution_watch.change(ref, event.get("event"))
            name = event["large"]
            run = {"plan": _plan, "slice": _slice, "commit": _commit, "sweep": _sweep}[name]
        change = known
        large = build()
        large.scope.require(ref)
        return run(large.copy, telemetry, change, event)
    except ReplicationError as error:
        if change is None:
            telemetry.failed_without_object(error)
        else:
            telemetry.record(change, error, datetime.now(UTC))
        raise _kind(event, error)(f"{error.code}: {error.message}") from None


def _kind(event: Mapping[str, Any], error: ReplicationError) -> type[Exception]:
    if isinstance(error, IntegrityError) and event.get("large") == "commit":
        return WrongBytesError  # elsewhere GCS refused one part, and that is sent again
    if error.moves_bytes and event.get("large") in {"plan", "slice"}:  # a plan copies small objects
        return TransferError
    if error.retryable:
        return BrokenTransferError if error.is_costly else TransientError
    return PermanentError


def _plan(
    copy: LargeCopy, telemetry: Telemetry, change: Change, event: Mapping[str, Any]
) -> dict[str, Any]:
    ref = change.ref
    planned = copy.plan(ref, event["version"])
    if isinstance(planned, Result):
        return _done(telemetry, planned, change)
    rounds = event["round"] + 1
    if rounds > max_rounds(planned.slices):
        raise PermanentError(
            f"out_of_rounds: {ref.uri} or its replica changed in {rounds - 1} rounds, or a policy"
            " of the bucket refuses the replica."
        )
    return {
        "done": False,
        "bucket": ref.bucket,
        "key": ref.key,
        "round": rounds,
        "version": planned.version_digest,
        "generation": str(planned.precondition.generation),
        "metageneration": planned.precondition.metageneration,
        "count": planned.slices,
        "slices": [*range(planned.slices)],
    }


def _slice(
    copy: LargeCopy, _: Telemetry, change: Change, event: Mapping[str, Any]
) -> dict[str, Any]:
    return {"staged": copy.stage(change.ref, _planned(event), event["number"])}


def _commit(
    copy: LargeCopy, telemetry: Telemetry, change: Change, event: Mapping[str, Any]
) -> dict[str, Any]:
    result = copy.commit(change.ref, _planned(event))
    if result:
        return _done(telemetry, result, change)
    return {
        "done": False,
        "bucket": change.ref.bucket,
        "key": change.ref.key,
        "round": event["round"],
        "version": event["version"],
    }


def _sweep(
    copy: LargeCopy, _: Telemetry, change: Change, event: Mapping[str, Any]
) -> dict[str, Any]:
    if event["version"]:
        copy.sweep(change.ref, event["version"])
    return {}


def _planned(event: Mapping[str, Any]) -> Planned:
    return Planned(
        version_digest=event["version"],
        precondition=Precondition(int(event["generation"]), event["metageneration"]),
        slices=event["count"],
    )


def _done(telemetry: Telemetry, result: Result, change: Change) -> dict[str, Any]:
    """End the execution. The lag counts from the event that started it, if one did."""
    telemetry.record(change, result, datetime.now(UTC))
    return {"done": True, "result": report.result(result)}
