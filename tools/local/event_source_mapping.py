"""Lambda's event source mapping: a queue's messages in batches, with partial batch responses."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.local.aws import REGION, Aws
from tools.local.notifications import Json, as_aws_sends, object_key
from tools.local.runtime import FunctionError

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageTypeDef

MAX_BATCHES = 1000
"""Of one `drain`: an event that is retried at once and forever is a defect."""

FINISHED_WITHIN_S = 120.0
POLL_S = 0.2
"""Two requests take 10 to 15 ms of CPU on moto and its client, and retries wait for seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One invocation with messages of the queue, and its response or error."""

    event: Json
    response: Json | FunctionError
    partial: bool
    """Whether Lambda reads the response: `ReportBatchItemFailures`."""

    def failed(self) -> set[str]:
        """Return the ids of the messages that stay in the queue."""
        if isinstance(self.response, FunctionError):
            return {record["messageId"] for record in self.event["Records"]}
        if not self.partial:
            return set()
        return {failure["itemIdentifier"] for failure in self.response["batchItemFailures"]}

    def failed_keys(self) -> set[str]:
        """Return the object keys in these messages."""
        failed = self.failed()
        bodies = (r["body"] for r in self.event["Records"] if r["messageId"] in failed)
        return {object_key(json.loads(body)) for body in bodies}


class EventSourceMapping:
    """Invokes a function with the messages of a queue, when it is told to."""

    def __init__(
        self, aws: Aws, queue_url: str, properties: Json, invoke: Callable[[object], Any]
    ) -> None:
        """`properties` are those of an AWS::Lambda::EventSourceMapping."""
        self._aws = aws
        self._sqs = aws.sqs
        self._queue_url = queue_url
        self._queue_arn: str = properties["EventSourceArn"]
        self._batch_size: int = properties["BatchSize"]
        self._partial = "ReportBatchItemFailures" in properties.get("FunctionResponseTypes", [])
        self._invoke = invoke

    def poll(self) -> Batch | None:
        """Invoke the function with one batch; None when no message is visible.

        A message that fails is hidden as long as the function says. After a crash of the function
        all can be received again at once: in AWS, after the queue's visibility timeout.
        """
        received = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=self._batch_size,
            MessageSystemAttributeNames=["All"],
        )
        messages = received.get("Messages", [])
        if not messages:
            return None
        batch = self._run({"Records": [self._record(message) for message in messages]})
        failed = batch.failed()
        for message in messages:
            handle = message["ReceiptHandle"]
            if message["MessageId"] not in failed:
                self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=handle)
            elif isinstance(batch.response, FunctionError):
                self._sqs.change_message_visibility(
                    QueueUrl=self._queue_url, ReceiptHandle=handle, VisibilityTimeout=0
                )
        return batch

    def drain(self) -> list[Batch]:
        """Poll until no message is visible. The others succeeded, became letters, or wait."""
        batches: list[Batch] = []
        while batch := self.poll():
            batches.append(batch)
            if len(batches) > MAX_BATCHES:
                raise TimeoutError(f"Events still wait after {MAX_BATCHES} batches.")
        return batches

    def finish(self) -> list[Batch]:
        """Poll until the queue is empty, also of messages that wait for a retry."""
        batches = self.drain()
        give_up = time.monotonic() + FINISHED_WITHIN_S
        while self._aws.queue_length(self._queue_url):
            if time.monotonic() > give_up:
                raise TimeoutError(f"Events still wait after {FINISHED_WITHIN_S:.0f} s.")
            time.sleep(POLL_S)
            batches += self.drain()
        return batches

    def _run(self, event: Json) -> Batch:
        response: Json | FunctionError
        try:
            response = self._invoke(event)
        except FunctionError as error:
            response = error
        return Batch(event=event, response=response, partial=self._partial)

    def _record(self, message: "MessageTypeDef") -> Json:
        """Return one record of the event, as Lambda builds it from a message."""
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": json.dumps(as_aws_sends(json.loads(message["Body"]))),
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queue_arn,
            "awsRegion": REGION,
        }
