"""The state machine of large objects, and the queue that keeps the events that wait for it."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from replicate.aws_calls import call
from replicate.aws_clients import AwsClients
from replicate.entry.execution_watch import facts, write_message
from replicate.entry.invocation import Change
from replicate.protocol.deadline import Deadline
from replicate.protocol.ports import ExecutionState, Failed, Running, Succeeded
from replicate.retry import RetryPolicy

if TYPE_CHECKING:
    from types_boto3_stepfunctions.type_defs import DescribeExecutionOutputTypeDef

T = TypeVar("T")


TEST_EVENT = json.dumps({"Event": "s3:TestEvent", "Service": "doctor"})
"""The function takes no action for it, as for the test event of S3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMachine:
    """The state machine and the event queue. Safe across threads."""

    clients: AwsClients
    deadline: Deadline
    policy: RetryPolicy
    arn: str
    queue_url: str
    """URL of the event queue."""
    watch_delay_s: int
    """Seconds until a watched execution is looked at again."""
    settle_s: int
    """Longest time for which a worker can outlive its execution, in seconds."""

    def of(self, change: Change) -> "ChangeExecutions":
        """Return the executions and messages of one change."""
        return ChangeExecutions(self, change)

    def describe(
        self, name: str, read: "Callable[[DescribeExecutionOutputTypeDef], T]"
    ) -> T | None:
        """Describe an execution by what `read` returns; None when there is none of this name."""
        arn = self.execution_arn(name)

        def describe() -> T | None:
            client = self.clients.client("stepfunctions", self.deadline)
            try:
                found = client.describe_execution(executionArn=arn)
            except client.exceptions.ExecutionDoesNotExist:
                return None
            return read(found)

        return self._call("DescribeExecution", describe)

    def start(self, name: str, state: str) -> None:
        """Start an execution with a state as JSON, unless there is one of this name."""

        def start() -> None:
            client = self.clients.client("stepfunctions", self.deadline)
            try:
                client.start_execution(stateMachineArn=self.arn, name=name, input=state)
            except client.exceptions.ExecutionAlreadyExists:
                return  # it ended meanwhile: the message that watches it finds that out

        self._call("StartExecution", start)

    def send(self, body: str, delay_s: int = 0) -> None:
        """Send a message to the event queue."""
        self._call(
            "SendMessage",
            lambda: self.clients.client("sqs", self.deadline).send_message(
                QueueUrl=self.queue_url, MessageBody=body, DelaySeconds=delay_s
            ),
        )

    def check_machine(self) -> str:
        """Return the status of the state machine. Raise SettingsError if there is none."""

        def describe() -> str:
            client = self.clients.client("stepfunctions", self.deadline)
            return str(client.describe_state_machine(stateMachineArn=self.arn)["status"])

        return self._call("DescribeStateMachine", describe)

    def send_test_event(self) -> None:
        """Send a message for which the function takes no action to the event queue."""
        self.send(TEST_EVENT)

    def execution_arn(self, name: str) -> str:
        """Return the ARN of an execution."""
        return f"{self.arn.replace(':stateMachine:', ':execution:')}:{name}"

    def _call(self, operation: str, request: Callable[[], T]) -> T:
        """Send a request, and repeat it: each is idempotent."""
        return call(operation, request, self.policy, self.deadline, remedy=_REMEDY)


@dataclass(frozen=True, slots=True)
class ChangeExecutions:
    """See `Executions`. Safe across threads."""

    machine: StateMachine
    change: Change
    """What executions and messages are for."""

    def state(self, name: str) -> ExecutionState | None:
        """See `Executions.state`."""
        return self.machine.describe(name, self._state)

    def _state(self, found: "DescribeExecutionOutputTypeDef") -> ExecutionState:
        """Count an execution as running until its last worker must have ended.

        A worker may outlive an execution that was stopped, timed out or failed.
        """
        status = found["status"]
        if status in {"RUNNING", "PENDING_REDRIVE"}:
            return Running()
        if status == "SUCCEEDED":
            return Succeeded()
        ended_s = (datetime.now(UTC) - found["stopDate"]).total_seconds()
        if ended_s < self.machine.settle_s:
            return Running()
        texts = (found.get("error"), _text(found.get("cause", "")))
        since = self.change.since
        has_waited = self.change.is_request or (since is not None and found["stopDate"] >= since)
        return Failed(
            cause=": ".join(text for text in texts if text) or status,
            is_old=not has_waited,
            ended_s=ended_s,
        )

    def watch(self, name: str) -> None:
        """See `Executions.watch`."""
        text = write_message(self.change, name, datetime.now(UTC))
        self.machine.send(text, self.machine.watch_delay_s)

    def start(self, name: str) -> None:
        """See `Executions.start`."""
        ref = self.change.ref
        state = {"bucket": ref.bucket, "key": ref.key, "version": None, "round": 0}
        self.machine.start(name, json.dumps(state | {"event": facts(self.change)}))


def _text(cause: str) -> str:
    """Return the message in the cause of a failed execution.

    The machine puts the error's JSON there, and in it Lambda the error's JSON with the stack.
    """
    for field in ("Cause", "errorMessage"):
        with suppress(ValueError, AttributeError):
            cause = str(json.loads(cause).get(field, cause))
    return cause


_REMEDY = (
    "Allow the function's role to start and describe executions of the state machine, and to send"
    " messages to the event queue."
)
