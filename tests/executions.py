"""A state machine in memory: it runs the steps of large objects one after the other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from replicate.protocol.large import LargeCopy, Planned
from replicate.protocol.model import Result, SourceRef
from replicate.protocol.ports import ExecutionState, Failed, Running


@dataclass
class FakeExecutions:
    """`Executions` whose executions run when a test says so."""

    states: dict[str, ExecutionState] = field(default_factory=dict)
    watches: list[str] = field(default_factory=list)
    """Names of the executions that messages watch."""
    started: list[str] = field(default_factory=list)

    def state(self, name: str) -> ExecutionState | None:
        return self.states.get(name)

    def watch(self, name: str) -> None:
        self.watches.append(name)

    def start(self, name: str) -> None:
        assert name in self.watches, "the event is stored before the execution starts"
        self.started.append(name)
        self.states[name] = Running()

    def end(self, name: str, cause: str = "ABORTED", ended_s: float = 1000) -> None:
        """Let an execution have failed so many seconds ago."""
        self.states[name] = Failed(cause, ended_s=ended_s)


def run_machine(
    copy: LargeCopy,
    ref: SourceRef,
    between: Callable[[str], None] = lambda _: None,
    rounds: int = 10,
) -> Result:
    """Run an execution to its end. `between` is called before each step with its name."""
    staged: str | None = None
    for _ in range(rounds):
        between("plan")
        planned = copy.plan(ref, staged)
        if isinstance(planned, Result):
            return planned
        staged = planned.version_digest
        for number in range(planned.slices):
            between(f"slice {number}")
            copy.stage(ref, planned, number)
        between("commit")
        if result := copy.commit(ref, planned):
            return result
    raise AssertionError("the execution does not end")


def as_json(planned: Planned) -> dict[str, Any]:
    """Return what the state of the machine holds about a plan."""
    return {
        "version": planned.version_digest,
        "generation": str(planned.precondition.generation),
        "metageneration": planned.precondition.metageneration,
        "count": planned.slices,
    }
