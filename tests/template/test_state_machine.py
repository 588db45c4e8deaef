"""The state machine of large objects: its definition, and how the template sets it up."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from template.stack import FUNCTION, MACHINE, Stack

from tools.local.template import TEMPLATE, document

PROPERTIES = document()["Resources"]["LargeObjectMachine"]["Properties"]
DEFINITION: dict[str, Any] = json.loads((TEMPLATE.parent / PROPERTIES["DefinitionUri"]).read_text())

THROTTLED = "Lambda.TooManyRequestsException"


def tasks(states: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in states.items():
        if state["Type"] == "Task":
            yield name, state
        if state["Type"] == "Map":
            yield from tasks(state["ItemProcessor"]["States"])


TASKS = dict(tasks(DEFINITION["States"]))


def attempts(task: dict[str, Any], error: str) -> int:
    """Return how often a task is retried after an error."""
    (found,) = [r["MaxAttempts"] for r in task["Retry"] if error in r["ErrorEquals"]]
    return int(found)


def test_the_name_is_the_one_that_the_function_knows(stack: Stack) -> None:
    machine = stack.properties("LargeObjectMachine")

    assert machine["StateMachineName"] == MACHINE.rpartition(":")[2]
    assert machine["StateMachineType"] == "STANDARD"
    assert machine["RoleArn"] == "${LargeObjectMachineRole.Arn}"


def test_its_failures_are_logged_without_data_and_its_steps_are_traced(stack: Stack) -> None:
    machine = stack.properties("LargeObjectMachine")
    log = stack.properties("LargeObjectMachineLogGroup")

    (destination,) = machine["LoggingConfiguration"].pop("Destinations")
    assert destination == {
        "CloudWatchLogsLogGroup": {"LogGroupArn": "${LargeObjectMachineLogGroup.Arn}"}
    }
    assert machine["LoggingConfiguration"] == {"Level": "ERROR", "IncludeExecutionData": False}
    assert machine["TracingConfiguration"] == {"Enabled": True}
    assert log["LogGroupName"].startswith("/aws/vendedlogs/")
    assert log["RetentionInDays"] == 30


@pytest.mark.parametrize("name", TASKS)
class TestTask:
    def test_invokes_the_function(self, stack: Stack, name: str) -> None:
        machine = stack.properties("LargeObjectMachine")

        assert machine["DefinitionSubstitutions"] == {"FunctionArn": FUNCTION}
        assert TASKS[name]["Resource"] == "${FunctionArn}"

    def test_waits_longer_than_the_function_runs(self, stack: Stack, name: str) -> None:
        """A write has taken effect, or is dead, before its step is repeated."""
        timeout = stack.properties("ReplicateFunction")["Timeout"]

        assert TASKS[name]["TimeoutSeconds"] >= timeout + 60

    def test_is_repeated_after_every_error_but_a_permanent_one(self, name: str) -> None:
        """Lambda has many names for a process that was killed or is out of memory."""
        task = TASKS[name]

        assert attempts(task, "States.ALL") >= 6
        assert attempts(task, "PermanentError") == 0
        assert task["Retry"][0]["ErrorEquals"] == ["PermanentError", "WrongBytesError"], (
            "the first match counts"
        )

    def test_waits_for_capacity_for_an_hour(self, name: str) -> None:
        """Lambda rejects invocations above the concurrency that is reserved or left."""
        (retrier,) = [r for r in TASKS[name]["Retry"] if THROTTLED in r["ErrorEquals"]]
        delays = [
            min(
                retrier["IntervalSeconds"] * retrier["BackoffRate"] ** number,
                retrier["MaxDelaySeconds"],
            )
            for number in range(retrier["MaxAttempts"])
        ]

        assert retrier["JitterStrategy"] == "FULL"
        assert sum(delays) / 2 > 60 * 60


def test_every_error_leads_to_a_failed_execution() -> None:
    states = DEFINITION["States"]
    catching = {name: state for name, state in states.items() if "Catch" in state}

    assert catching.keys() == {"Plan", "StageSlices", "Commit", "Sweep"}
    for state in catching.values():
        assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"]
        assert state["Catch"][-1]["Next"] == "Failed"
    assert states["Failed"] == {
        "Type": "Fail",
        "ErrorPath": "$.error.Error",
        "CausePath": "States.JsonToString($.error)",
    }, "an error may have no cause, and a path that leads nowhere would hide the error"


def test_the_commit_outlasts_an_outage_of_half_an_hour() -> None:
    """Everything is staged then."""
    (retrier,) = [r for r in TASKS["Commit"]["Retry"] if r["ErrorEquals"] == ["States.ALL"]]

    assert sum(min(5 * 2**n, 300) for n in range(retrier["MaxAttempts"])) / 2 > 30 * 60


def test_an_execution_has_a_day_which_five_tib_need_with_one_worker() -> None:
    seconds = 5 * 1024**4 / (75 * 1024**2)

    assert seconds < DEFINITION["TimeoutSeconds"] == 24 * 60 * 60
