"""Runs the state machine of large objects over any function: real workers, or a simulation.

It knows what statemachines/large-object.asl.json uses, and neither retries nor catches: an error
ends the run, because nothing may fail in a benchmark.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

DEFINITION = Path(__file__).parents[2] / "statemachines" / "large-object.asl.json"

MAX_STATE_BYTES = 256 * 1024
"""Input or output of one state. Source: "Quotas" in Step Functions' developer guide."""


@dataclass(slots=True)
class Machine:
    """One execution."""

    invoke: Callable[[Json], Json]
    """The Lambda function."""
    run_all: Callable[[Sequence[Callable[[], Json]], int], list[Json]]
    """Runs the iterations of a Map, at most so many at a time, and returns their outputs."""
    transitions: int = 0
    """States entered, of all iterations."""
    visited: list[str] = field(default_factory=list)
    """Names of the states that were entered, without those of iterations."""

    def execute(self, value: Json) -> Json:
        """Run an execution to its end and return its output."""
        definition: Json = json.loads(DEFINITION.read_text())
        context = {"Execution": {"Input": {"event": {}, **value}}}
        return self._run(definition, value, context, self.visited)

    def _run(self, definition: Json, value: Json, context: Json, visited: list[str]) -> Json:
        name: str | None = definition["StartAt"]
        while name:
            state = definition["States"][name]
            self.transitions += 1
            visited.append(name)
            if state["Type"] == "Fail":
                raise RuntimeError(f"the execution failed in {name}: {value}")
            if state["Type"] == "Choice":
                name = _choose(state, value)
                continue
            value = self._enter(state, value, context)
            if len(json.dumps(value)) > MAX_STATE_BYTES:
                raise RuntimeError(f"the output of {name} is too large for a state")
            name = state.get("Next")
        return value

    def _enter(self, state: Json, value: Json, context: Json) -> Json:
        if state["Type"] == "Task":
            result: Any = self.invoke(_filled(state["Parameters"], value, context))
        elif state["Type"] == "Map":
            result = self._map(state, value)
        else:
            return value
        path = state.get("ResultPath", "$")
        if path == "$":
            output: Json = result
            return output
        return value if path is None else value | {path.removeprefix("$."): result}

    def _map(self, state: Json, value: Json) -> list[Json]:
        def iteration(item: Any) -> Callable[[], Json]:  # noqa: ANN401 - any JSON value
            context = {"Map": {"Item": {"Value": item}}}
            selected = _filled(state["ItemSelector"], value, context)
            return lambda: self._run(state["ItemProcessor"], selected, context, [])

        items = _at(state["ItemsPath"], value, {})
        return self.run_all([iteration(item) for item in items], state["MaxConcurrency"])


def _choose(state: Json, value: Json) -> str:
    for choice in state["Choices"]:
        if _at(choice["Variable"], value, {}) is choice["BooleanEquals"]:
            return str(choice["Next"])
    return str(state["Default"])


def _filled(template: Json, value: Json, context: Json) -> Json:
    """Replace the paths in a template: names that end in `.$` have one as their value."""
    return {
        name.removesuffix(".$"): _at(each, value, context) if name.endswith(".$") else each
        for name, each in template.items()
    }


def _at(path: str, value: Json, context: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    root, *names = path.split(".")
    found: Any = context if root == "$$" else value
    for name in names:
        found = found[name]
    return found
