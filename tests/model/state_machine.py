"""The state machine of large objects as Step Functions runs it, one state after the other.

It reads the definition that is deployed, and knows what of the Amazon States Language that uses.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from replicate.protocol.model import SourceRef
from replicate.protocol.ports import ExecutionState, Failed, Running, Succeeded

DEFINITION: Mapping[str, Any] = json.loads(
    (Path(__file__).parents[2] / "statemachines" / "large-object.asl.json").read_text()
)
STATES: Mapping[str, Any] = DEFINITION["States"]


class Position(NamedTuple):
    """Where an execution is: the name of a state, and its input as JSON."""

    state: str
    data: str

    @property
    def has_ended(self) -> bool:
        return STATES[self.state]["Type"] in {"Succeed", "Fail"}


def begin(ref: SourceRef) -> Position:
    """Enter the first state."""
    data = {"bucket": ref.bucket, "key": ref.key, "version": None, "round": 0}
    return _enter(DEFINITION["StartAt"], data)


def described(position: Position, *, is_running: bool) -> ExecutionState:
    """Return what Step Functions tells about an execution."""
    if is_running:
        return Running()
    return Succeeded() if position.state == "Done" else Failed("ended")


def payloads(position: Position) -> list[str]:
    """Return what the state invokes the function with, as JSON: once, or for each item of a Map."""
    state, data = STATES[position.state], json.loads(position.data)
    if state["Type"] == "Task":
        return [_json(_select(state["Parameters"], data))]
    processor = state["ItemProcessor"]
    task = processor["States"][processor["StartAt"]]
    items = _at(state["ItemsPath"], data)
    inputs = [_select(state["ItemSelector"], data, item) for item in items]
    return [_json(_select(task["Parameters"], each)) for each in inputs]


def succeeded(position: Position, results: Sequence[object]) -> Position:
    """Leave a state whose tasks have returned."""
    state = STATES[position.state]
    result = results[0] if state["Type"] == "Task" else results
    return _enter(state["Next"], _placed(state, position, result))


def failed(position: Position, error: str, cause: str) -> Position:
    """Leave a state whose task failed and is not retried any more."""
    catches = STATES[position.state]["Catch"]
    catch = next(each for each in catches if {error, "States.ALL"} & {*each["ErrorEquals"]})
    return _enter(catch["Next"], _placed(catch, position, {"Error": error, "Cause": cause}))


def _enter(name: str, data: object) -> Position:
    state = STATES[name]
    if state["Type"] != "Choice":
        return Position(name, "" if state["Type"] in {"Succeed", "Fail"} else _json(data))
    for choice in state["Choices"]:
        if _at(choice["Variable"], data) is choice["BooleanEquals"]:
            return _enter(choice["Next"], data)
    return _enter(state["Default"], data)


def _placed(rule: Mapping[str, Any], position: Position, result: object) -> object:
    """Apply `ResultPath`: the result replaces the input, is dropped, or becomes a field of it."""
    path = rule.get("ResultPath", "$")
    if path == "$":
        return result
    data = json.loads(position.data)
    return data if path is None else data | {path.removeprefix("$."): result}


def _select(template: Mapping[str, Any], data: object, item: object = None) -> dict[str, Any]:
    return {
        name.removesuffix(".$"): _at(value, data, item) if name.endswith(".$") else value
        for name, value in template.items()
    }


def _at(path: str, data: Any, item: object = None) -> Any:  # noqa: ANN401 - JSON
    if path == "$$.Execution.Input.event":
        return {}
    return item if path == "$$.Map.Item.Value" else data[path.removeprefix("$.")]


def _json(data: object) -> str:
    return json.dumps(data, sort_keys=True)
