"""Hand-over: a large object is copied by an execution, and a message watches the execution."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count

from replicate.errors import LargeObjectDelayedError, LargeObjectError
from replicate.protocol.model import HandOverReason, Precondition, Reason, SourceObject, SourceRef
from replicate.protocol.parts import version_digest
from replicate.protocol.ports import Executions, Failed, Running, Succeeded

_OTHER = ""

LIMITS = {"PermanentError": 1, "WrongBytesError": 2, "TransferError": 2, _OTHER: 5}
"""Executions that end with an error, before the event is given up.

They are for one version and one state of the destination. Wrong bytes are copied once more. The
state machine repeats a step twice after TransferError, so a slice is transferred six times in all.
After any other error the process was killed, or somebody stopped the execution.

Chosen, not measured: a permanent error lasts until somebody removes its cause, and each execution
after a transfer pays for that transfer again.
"""

UNLIMITED = frozenset(
    {
        "BrokenTransferError",
        "TransientError",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.ServiceException",
        "Lambda.TooManyRequestsException",
    }
)
"""Errors whose cause may pass.

Executions follow each other until the event is given up for its age (settlement/policy.py). Source
of the names: "Handling errors in Step Functions workflows" in its developer guide.
"""

EAGER = 2
"""Failures after which the next execution starts without a pause.

Chosen, not measured: a short outage may end two executions, and a third shows that it lasts.
"""

PAUSE_S = 60 * 60
"""Pause in seconds after the next failure. Each one makes it so much longer.

So an event that waits through an outage of ten days starts about 20 executions.
"""


@dataclass(frozen=True, slots=True)
class HandOver:
    """The execution that copies a large object, and whether it has just been started."""

    reason: HandOverReason
    execution: str


def hand_over(
    executions: Executions,
    ref: SourceRef,
    source: SourceObject,
    precondition: Precondition,
    watched: Collection[str] = (),
    *,
    is_request: bool = False,
) -> HandOver:
    """Let an execution copy a large object. Return it.

    `watched` names the executions that the event watches. A request stores no message for an
    execution that runs: that of its start remains. Raise LargeObjectError when executions have
    failed and a person must remove the cause, and LargeObjectDelayedError if a later one may
    succeed.
    """
    key = repr((ref, version_digest(source), precondition))
    base = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:40]
    failures: list[Failed] = []
    numbers = count(1)
    while True:
        name = f"{base}-{next(numbers)}"
        match executions.state(name):
            case None:
                _require_another(ref, failures, is_request=is_request)
                _start(executions, name, is_watched=name in watched)
                return HandOver(Reason.STARTED, name)
            case Running():
                if not is_request:
                    executions.watch(name)
                return HandOver(Reason.RUNNING, name)
            case Failed(is_old=False) as failure:
                failures.append(failure)
            case Succeeded() | Failed():
                pass  # it does not matter for the next one


def _require_another(ref: SourceRef, failures: Sequence[Failed], *, is_request: bool) -> None:
    """Raise LargeObjectError unless another execution may start after these failures.

    A request may always start one when the last failure is an hour old: its caller asks for it.
    """
    if not failures or (is_request and failures[-1].ended_s > PAUSE_S):
        return
    causes = [each.cause for each in failures if each.cause]
    text = (
        f"{len(failures)} executions did not copy {ref.uri}."
        f" The last cause: {causes[-1] if causes else 'unknown'}."
    )
    kinds = Counter(_kind(each.cause) for each in failures)
    if any(kinds[kind] >= limit for kind, limit in LIMITS.items()):
        raise LargeObjectError(
            f"{text} Look at the executions of the state machine and remove the cause."
            " docs/OPERATIONS.md says how to start another execution."
        )
    hours = len(failures) - EAGER
    left_s = hours * PAUSE_S - failures[-1].ended_s
    if hours > 0 and left_s > 0:
        raise LargeObjectDelayedError(
            f"{text} The next one starts within {hours + 1} hours.", retry_after_s=left_s
        )


def _kind(cause: str) -> str:
    name = cause.partition(":")[0]
    return name if name in LIMITS or name in UNLIMITED else _OTHER


def _start(executions: Executions, name: str, *, is_watched: bool) -> None:
    """Start an execution after its message is stored.

    If the event is itself a watch, start first and store the new watch afterwards. Otherwise each
    failed start would add one more watch.
    """
    if not is_watched:
        executions.watch(name)
    executions.start(name)
    if is_watched:
        executions.watch(name)


def series(name: str) -> str:
    """Return what the executions of one version and one state of the destination share."""
    return name.rpartition("-")[0]


def watch_again(executions: Executions, watched: Collection[str]) -> str | None:
    """Store a message for each execution that still runs. Return the name of one of them."""
    running = None
    for name in watched:
        if isinstance(executions.state(name), Running):
            executions.watch(name)
            running = name
    return running
