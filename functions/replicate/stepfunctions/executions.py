"""The state machine of large objects, and the queue that keeps the events that wait for it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from replicate.aws_calls import call
from replicate.aws_clients import AwsClients
from replicate.entry.execution_watch import message
from replicate.protocol.deadline import Deadline
from replicate.protocol.handover import ExecutionState, may_pass
from replicate.protocol.model import SourceRef
from replicate.retry import RetryPolicy

if TYPE_CHECKING:
    from types_boto3_stepfunctions.type_defs import DescribeExecutionOutputTypeDef

T = TypeVar("T")


OLD_S = 24 * 60 * 60
"""After this time a failed execution no longer counts: somebody has had the time to act."""

SOON_OLD_S = 60 * 60
"""The same if its cause may have passed by itself, such as an outage."""


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
    ) -> None:
        """`arn` is the state machine's, and `queue_url` the event queue's.

        `watch_delay_s` is the time until a watched execution is looked at again, in seconds.
        `settle_s` is the longest time for which a worker can outlive its execution, in seconds.
        """
        self._clients = clients
        self._deadline = deadline
        self._policy = policy
        self._arn = arn
        self._queue_url = queue_url
        self._watch_delay_s = watch_delay_s
        self._settle_s = settle_s

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
        cause = ": ".join(text for text in (found.get("error"), found.get("cause")) if text)
        if status in {"RUNNING", "PENDING_REDRIVE"}:
            return ExecutionState(is_running=True, cause=cause or status)
        ended_s = (datetime.now(UTC) - found["stopDate"]).total_seconds()
        return ExecutionState(
            is_running=status != "SUCCEEDED" and ended_s < self._settle_s,
            cause=cause or status,
            is_old=ended_s > (SOON_OLD_S if may_pass(cause or status) else OLD_S),
        )

    def watch(self, ref: SourceRef, name: str) -> None:
        """See `Executions.watch`."""
        self._call(
            "SendMessage",
            lambda: self._clients.client("sqs", self._deadline).send_message(
                QueueUrl=self._queue_url,
                MessageBody=message(ref, name),
                DelaySeconds=self._watch_delay_s,
            ),
        )

    def start(self, ref: SourceRef, name: str) -> None:
        """See `Executions.start`."""
        text = json.dumps({"bucket": ref.bucket, "key": ref.key, "mine": None, "round": 0})

        def start() -> None:
            client = self._clients.client("stepfunctions", self._deadline)
            try:
                client.start_execution(stateMachineArn=self._arn, name=name, input=text)
            except client.exceptions.ExecutionAlreadyExists:
                return  # it ended meanwhile: the message that watches it finds that out

        self._call("StartExecution", start)

    def execution_arn(self, name: str) -> str:
        """Return the ARN of an execution."""
        return f"{self._arn.replace(':stateMachine:', ':execution:')}:{name}"

    def _call(self, operation: str, request: Callable[[], T]) -> T:
        """Send a request, and repeat it: all three are idempotent."""
        return call(operation, request, self._policy, self._deadline, remedy=_REMEDY)


_REMEDY = (
    "Allow the function's role to start and describe executions of the state machine, and to send"
    " messages to the event queue."
)
