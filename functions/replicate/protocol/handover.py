"""Hand-over: a large object is copied by an execution, and a message watches the execution."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from replicate.errors import LargeObjectError
from replicate.protocol.model import Precondition, Reason, SourceObject, SourceRef
from replicate.protocol.parts import fingerprint

MAX_EXECUTIONS = 3
"""Executions for one version and one state of the destination, before the event is given up."""

FEWER_EXECUTIONS = {"PermanentError": 1, "WrongBytesError": 2}
"""The same by the error that an execution ended with. Wrong bytes are copied once more."""


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """What is known about an execution. `cause` says why it ended, if it failed."""

    is_running: bool
    cause: str = ""


class Executions(Protocol):
    """Starts and watches executions that copy large objects."""

    def state(self, name: str) -> ExecutionState | None:
        """Describe an execution; None when there is none of this name."""

    def watch(self, ref: SourceRef, name: str) -> None:
        """Store a message that runs the key again later, so that no event is lost."""

    def start(self, ref: SourceRef, name: str) -> None:
        """Start an execution. It is no error when the same one runs already."""


def hand_over(
    executions: Executions, ref: SourceRef, source: SourceObject, precondition: Precondition
) -> tuple[Reason, str]:
    """Let an execution copy a large object. Return what it does, and its name.

    The message that watches the execution is stored before the execution starts. Raise
    LargeObjectError when several executions have failed.
    """
    key = repr((ref, fingerprint(source), precondition))
    base = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:40]
    cause = ""
    for number in range(1, MAX_EXECUTIONS + 1):
        name = f"{base}-{number}"
        state = executions.state(name)
        if state is None:
            executions.watch(ref, name)
            executions.start(ref, name)
            return Reason.STARTED, name
        if state.is_running:
            executions.watch(ref, name)
            return Reason.RUNNING, name
        cause = state.cause or cause
        if number >= FEWER_EXECUTIONS.get(cause.partition(":")[0], MAX_EXECUTIONS):
            break
    raise LargeObjectError(
        f"{number} executions did not copy {ref.uri}. The last cause: {cause or 'unknown'}."
        " Look at the executions of the state machine and remove the cause. docs/OPERATIONS.md says"
        " how to start another execution."
    )


def watch_again(executions: Executions, ref: SourceRef, name: str) -> bool:
    """Whether an execution still runs. Then its event is stored again, to run later."""
    state = executions.state(name)
    if state is None or not state.is_running:
        return False
    executions.watch(ref, name)
    return True
