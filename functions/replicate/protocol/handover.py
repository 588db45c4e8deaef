"""Hand-over: a large object is copied by an execution, and a message watches the execution."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from replicate.errors import LargeObjectDelayedError, LargeObjectError
from replicate.protocol.model import Precondition, Reason, SourceObject, SourceRef
from replicate.protocol.parts import version_digest

MAX_EXECUTIONS = 3
"""Executions for one version and one state of the destination, before the event is given up."""

FEWER_EXECUTIONS = {"PermanentError": 1, "WrongBytesError": 2}
"""The same by the error that an execution ended with. Wrong bytes are copied once more."""

PASSED_S = 60 * 60
"""Seconds after which a failure no longer counts if its cause may have passed by itself.

An event that waits through an outage of days starts an execution every now and then.
"""


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """What is known about an execution. `cause` says why it ended, if it failed."""

    is_running: bool
    """Its workers may still write."""
    cause: str = ""
    is_old: bool = False
    """It ended before the event began to wait, so it says nothing about the next one: since then
    somebody may have removed the cause."""
    has_succeeded: bool = False
    """It has found both sides equal. If they differ now, something has changed since."""


class Executions(Protocol):
    """Starts and watches executions that copy large objects."""

    def state(self, name: str) -> ExecutionState | None:
        """Describe an execution; None when there is none of this name."""

    def watch(self, ref: SourceRef, name: str) -> None:
        """Store a message that runs the key again later, so that no event is lost."""

    def start(self, ref: SourceRef, name: str) -> None:
        """Start an execution. It is no error when the same one runs already."""


def hand_over(
    executions: Executions,
    ref: SourceRef,
    source: SourceObject,
    precondition: Precondition,
    watched: Collection[str] = (),
    *,
    is_request: bool = False,
) -> tuple[Reason, str]:
    """Let an execution copy a large object. Return what it does, and its name.

    `watched` names the executions that the event watches: an event that is such a message itself is
    stored after the start, because an execution that cannot be started would multiply it. A request
    stores no message for an execution that runs: that of its start remains. Raise LargeObjectError
    when several executions have failed, and LargeObjectDelayedError if a later one may succeed
    without a person.
    """
    key = repr((ref, version_digest(source), precondition))
    base = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:40]
    cause = ""
    failures = 0
    for number in count(1):
        name = f"{base}-{number}"
        state = executions.state(name)
        if state is None:
            _start(executions, ref, name, is_watched=name in watched)
            return Reason.STARTED, name
        if state.is_running:
            if not is_request:
                executions.watch(ref, name)
            return Reason.RUNNING, name
        if state.is_old or state.has_succeeded:
            continue
        failures += 1
        cause = state.cause or cause
        if failures >= FEWER_EXECUTIONS.get(_error_name(cause), MAX_EXECUTIONS):
            break
    raise _failed(ref, failures, cause)


def series(name: str) -> str:
    """Return what the executions of one version and one state of the destination share."""
    return name.rpartition("-")[0]


def _failed(ref: SourceRef, failures: int, cause: str) -> LargeObjectError:
    text = f"{failures} executions did not copy {ref.uri}. The last cause: {cause or 'unknown'}."
    if may_pass(cause):
        return LargeObjectDelayedError(
            f"{text} The next one starts within two hours.", retry_after_s=PASSED_S
        )
    return LargeObjectError(
        f"{text} Look at the executions of the state machine and remove the cause."
        " docs/OPERATIONS.md says how to start another execution."
    )


def _start(executions: Executions, ref: SourceRef, name: str, *, is_watched: bool) -> None:
    """Start an execution after its message is stored, unless the event is that message itself."""
    if not is_watched:
        executions.watch(ref, name)
    executions.start(ref, name)
    if is_watched:
        executions.watch(ref, name)


def may_pass(cause: str) -> bool:
    """Return whether an execution that ended with this cause may succeed without a person."""
    return _error_name(cause) not in FEWER_EXECUTIONS


def _error_name(cause: str) -> str:
    return cause.partition(":")[0]


def watch_again(executions: Executions, ref: SourceRef, watched: Collection[str]) -> str | None:
    """Store a message for each execution that still runs. Return the name of one of them."""
    running = None
    for name in watched:
        state = executions.state(name)
        if state is not None and state.is_running:
            executions.watch(ref, name)
            running = name
    return running
