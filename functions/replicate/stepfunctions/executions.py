"""The state machine of large objects, and the queue that keeps the events that wait for it."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from replicate.aws_calls import call
from replicate.aws_clients import AwsClients
from replicate.entry.execution_watch import facts, message
from replicate.entry.invocation import Change
from replicate.protocol.deadline import Deadline
from replicate.protocol.handover import PASSED_S, ExecutionState, may_pass
from replicate.protocol.model import SourceRef
from replicate.retry import RetryPolicy

if TYPE_CHECKING:
    from types_boto3_stepfunctions.type_defs import DescribeExecutionOutputTypeDef

T = TypeVar("T")


REQUEST_MEMORY = timedelta(hours=1)
"""How long a failure counts for a request. For an event, only failures after its arrival count."""

TEST_EVENT = json.dumps({"Event": "s3:TestEvent", "Service": "doctor"})
"""The function takes no action for it, as for the test event of S3."""


class StateMachine:
    """See `Executions`. Safe across threads."""

    def __init__(
        self,
        clients: AwsClients,
        deadline: Deadline,
        policy: RetryPolicy,
        *,
        arn: str,
        queue_url: str,
        watch_delay_s: int,
        settle_s: int,
        change: Change | None = None,
    ) -> None:
        """`arn` is the state machine's, and `queue_url` the event queue's.

        `watch_delay_s` is the time until a watched execution is looked at again, in seconds.
        `settle_s` is the longest time for which a worker can outlive its execution, in seconds.
        `change` is what executions and messages are for.
        """
        self._clients = clients
        self._deadline = deadline
        self._policy = policy
        self._arn = arn
        self._queue_url = queue_url
        self._watch_delay_s = watch_delay_s
        self._settle_s = settle_s
        self._change = change

    def of(self, change: Change) -> "StateMachine":
        """Return the executions and messages of one change."""
        now = datetime.now(UTC)
        since = now - REQUEST_MEMORY if change.is_request else now
        return StateMachine(
            self._clients,
            self._deadline,
            self._policy,
            arn=self._arn,
            queue_url=self._queue_url,
            watch_delay_s=self._watch_delay_s,
            settle_s=self._settle_s,
            change=replace(change, since=change.since or since),
        )

    def state(self, name: str) -> ExecutionState | None:
        """See `Executions.state`."""
        arn = self.execution_arn(name)

        def describe() -> ExecutionState | None:
            client = self._clients.client("stepfunctions", self._deadline)
            try:
                found = client.describe_execution(executionArn=arn)
            except client.exceptions.ExecutionDoesNotExist:
                return None
            return self._describe(found)

        return self._call("DescribeExecution", describe)

    def _describe(self, found: "DescribeExecutionOutputTypeDef") -> ExecutionState:
        """Count an execution as running until its last worker must have ended.

        A worker may outlive an execution that was stopped, timed out or failed.
        """
        status = found["status"]
        texts = (found.get("error"), _text(found.get("cause", "")))
        cause = ": ".join(text for text in texts if text)
        if status in {"RUNNING", "PENDING_REDRIVE"}:
            return ExecutionState(is_running=True, cause=cause or status)
        ended_s = (datetime.now(UTC) - found["stopDate"]).total_seconds()
        since = self._change.since if self._change else None
        return ExecutionState(
            is_running=status != "SUCCEEDED" and ended_s < self._settle_s,
            cause=cause or status,
            is_old=(since is not None and found["stopDate"] < since)
            or (ended_s > PASSED_S and may_pass(cause or status)),
            has_succeeded=status == "SUCCEEDED",
        )

    def watch(self, ref: SourceRef, name: str) -> None:
        """See `Executions.watch`."""
        change = self._change or Change(ref)
        self._send(message(change, name, datetime.now(UTC)), self._watch_delay_s)

    def _send(self, body: str, delay_s: int = 0) -> None:
        self._call(
            "SendMessage",
            lambda: self._clients.client("sqs", self._deadline).send_message(
                QueueUrl=self._queue_url, MessageBody=body, DelaySeconds=delay_s
            ),
        )

    def start(self, ref: SourceRef, name: str) -> None:
        """See `Executions.start`."""
        state = {"bucket": ref.bucket, "key": ref.key, "version": None, "round": 0}
        text = json.dumps(state | {"event": facts(self._change or Change(ref))})

        def start() -> None:
            client = self._clients.client("stepfunctions", self._deadline)
            try:
                client.start_execution(stateMachineArn=self._arn, name=name, input=text)
            except client.exceptions.ExecutionAlreadyExists:
                return  # it ended meanwhile: the message that watches it finds that out

        self._call("StartExecution", start)

    def check_machine(self) -> str:
        """Return the status of the state machine. Raise SettingsError if there is none."""

        def describe() -> str:
            client = self._clients.client("stepfunctions", self._deadline)
            return str(client.describe_state_machine(stateMachineArn=self._arn)["status"])

        return self._call("DescribeStateMachine", describe)

    def send_test_event(self) -> None:
        """Send a message for which the function takes no action to the event queue."""
        self._send(TEST_EVENT)

    def execution_arn(self, name: str) -> str:
        """Return the ARN of an execution."""
        return f"{self._arn.replace(':stateMachine:', ':execution:')}:{name}"

    def _call(self, operation: str, request: Callable[[], T]) -> T:
        """Send a request, and repeat it: each is idempotent."""
        return call(operation, request, self._policy, self._deadline, remedy=_REMEDY)


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
