"""The state machine of large objects, and the queue that keeps the events that wait for it."""

import json
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
)

from replicate.aws_clients import NO_ROLE, AwsClients
from replicate.entry.execution_watch import message
from replicate.errors import SettingsError, ThrottledError, UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.protocol.handover import ExecutionState
from replicate.protocol.model import SourceRef
from replicate.retry import RetryPolicy, is_transient, retrying

T = TypeVar("T")


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
    ) -> None:
        """`arn` is the state machine's, and `queue_url` the event queue's.

        `watch_delay_s` is the time until a watched execution is looked at again, in seconds.
        """
        self._clients = clients
        self._deadline = deadline
        self._policy = policy
        self._arn = arn
        self._queue_url = queue_url
        self._watch_delay_s = watch_delay_s

    def state(self, name: str) -> ExecutionState | None:
        """See `Executions.state`."""
        arn = self.execution_arn(name)

        def describe() -> ExecutionState | None:
            client = self._clients.client("stepfunctions", self._deadline)
            try:
                found = client.describe_execution(executionArn=arn)
            except client.exceptions.ExecutionDoesNotExist:
                return None
            status = found["status"]
            cause = ": ".join(text for text in (found.get("error"), found.get("cause")) if text)
            return ExecutionState(status in {"RUNNING", "PENDING_REDRIVE"}, cause or status)

        return self._call("DescribeExecution", describe)

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

        def attempt() -> T:
            try:
                return request()
            except ClientError as error:
                raise self._refusal(operation, error) from error
            except NoCredentialsError:
                raise SettingsError(NO_ROLE) from None
            except CredentialRetrievalError:  # its text may quote a response that holds credentials
                raise UnavailableError(
                    "The function's AWS credentials could not be renewed. Try again."
                ) from None
            except (BotoCoreError, LookupError) as error:  # no connection, or a malformed response
                raise UnavailableError(f"{operation} failed ({error}). Try again.") from error

        return retrying(attempt, self._policy, self._deadline)

    def _refusal(self, operation: str, error: ClientError) -> Exception:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"].get("Code", "")
        if "Throttl" in code or "LimitExceeded" in code:
            return ThrottledError(f"{operation} was throttled ({code}). Try again later.")
        if is_transient(status):
            return UnavailableError(f"{operation} failed ({code}). Try again.")
        return SettingsError(
            f"{operation} was refused ({code}). Allow the function's role to start and describe"
            " executions of the state machine, and to send messages to the event queue."
        )
