"""The state machines: their definitions, and how the template sets them up."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from template.stack import FUNCTION, MACHINE, RECONCILE_MACHINE, Stack, variables

from replicate.settings import Settings
from tools.local.template import TEMPLATE, document

NAMES = {"LargeObjectMachine": MACHINE, "ReconcileMachine": RECONCILE_MACHINE}


def definition(machine: str) -> dict[str, Any]:
    properties = document()["Resources"][machine]["Properties"]
    found: dict[str, Any] = json.loads((TEMPLATE.parent / properties["DefinitionUri"]).read_text())
    return found


DEFINITION = definition("LargeObjectMachine")
RECONCILE = definition("ReconcileMachine")

THROTTLED = "Lambda.TooManyRequestsException"


def tasks(states: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in states.items():
        if state["Type"] == "Task":
            yield name, state
        if state["Type"] == "Map":
            yield from tasks(state["ItemProcessor"]["States"])


TASKS = {
    f"{machine}.{name}": task
    for machine in NAMES
    for name, task in tasks(definition(machine)["States"])
}


def attempts(task: dict[str, Any], error: str) -> int:
    """Return how often a task is retried after an error."""
    (found,) = [r["MaxAttempts"] for r in task["Retry"] if error in r["ErrorEquals"]]
    return int(found)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_the_one_that_the_function_or_its_role_knows(stack: Stack, name: str) -> None:
    machine = stack.properties(name)

    assert machine["StateMachineName"] == NAMES[name].rpartition(":")[2]
    assert machine["StateMachineType"] == "STANDARD"
    assert machine["RoleArn"] == f"${{{name}Role.Arn}}"
    assert machine["DefinitionSubstitutions"] == {"FunctionArn": FUNCTION}


def test_an_execution_counts_as_running_until_its_last_worker_has_ended(stack: Stack) -> None:
    """Then nothing of it can write any more, and the next one may start."""
    timeout = stack.properties("ReplicateFunction")["Timeout"]
    settings = Settings.from_environ({**variables(stack), "AWS_REGION": "eu-central-1"})

    assert timeout < settings.settle_s == 16 * 60


@pytest.mark.parametrize("name", NAMES)
def test_failures_are_logged_without_data_and_steps_are_traced(stack: Stack, name: str) -> None:
    machine = stack.properties(name)
    log = stack.properties(f"{name}LogGroup")

    (destination,) = machine["LoggingConfiguration"].pop("Destinations")
    assert destination == {"CloudWatchLogsLogGroup": {"LogGroupArn": f"${{{name}LogGroup.Arn}}"}}
    assert machine["LoggingConfiguration"] == {"Level": "ERROR", "IncludeExecutionData": False}
    assert machine["TracingConfiguration"] == {"Enabled": True}
    assert log["LogGroupName"].startswith("/aws/vendedlogs/")
    assert log["RetentionInDays"] == 30


@pytest.mark.parametrize("name", TASKS)
class TestTask:
    def test_invokes_the_function(self, name: str) -> None:
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
        assert "PermanentError" in task["Retry"][0]["ErrorEquals"], "the first match counts"

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


@pytest.mark.parametrize("error", ["TransferError", "BrokenTransferError"])
@pytest.mark.parametrize("name", ["Plan", "StageSlice"])
def test_a_step_that_transfers_bytes_in_vain_is_repeated_twice(name: str, error: str) -> None:
    """Every attempt is paid for by its bytes."""
    task = TASKS[f"LargeObjectMachine.{name}"]
    matching = {error, "States.ALL"}
    first = next(each for each in task["Retry"] if matching & {*each["ErrorEquals"]})

    assert (first["ErrorEquals"], first["MaxAttempts"]) == ([error], 2)


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
    (retrier,) = [
        r for r in TASKS["LargeObjectMachine.Commit"]["Retry"] if r["ErrorEquals"] == ["States.ALL"]
    ]

    assert sum(min(5 * 2**n, 300) for n in range(retrier["MaxAttempts"])) / 2 > 30 * 60


def test_an_execution_has_a_day_which_five_tib_need_with_one_worker() -> None:
    seconds = 5 * 1024**4 / (75 * 1024**2)

    assert seconds < DEFINITION["TimeoutSeconds"] == 24 * 60 * 60


def test_a_reconcile_that_fails_can_be_redriven() -> None:
    """Step Functions repeats the task that failed. A caught error would have no such task."""
    assert "Catch" not in json.dumps(RECONCILE)
    assert "Fail" not in {state["Type"] for state in RECONCILE["States"].values()}
