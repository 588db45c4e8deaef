"""S3's and EventBridge's events for the function, by way of a queue: moto invokes no function."""

import json
import threading
import time
from collections.abc import Callable

from tools.local.aws import Aws
from tools.local.lambda_service import LambdaService
from tools.local.notifications import Json, as_aws_sends, notification

BATCH = 10
LONG_POLL_S = 10
"""A message ends the wait at once."""

IN_HAND_S = 3600
"""Visibility timeout: longer than any run, so that no message is received twice."""

SETTLED_WITHIN_S = 120.0
POLL_S = 0.05

METADATA_DELAY_S = 0.05
"""moto sends an event before it stores the object's metadata; S3 does not."""


class BucketNotifications:
    """Calls `forward` on a thread, with the events of up to ten messages. `close` it.

    Deletes the messages after `forward` has returned, so that every event is counted until then:
    in the queue, or in the LambdaService that has accepted it.
    """

    def __init__(self, aws: Aws, queue_url: str, forward: Callable[[list[Json]], object]) -> None:
        self._aws = aws
        self._queue_url = queue_url
        self._forward = forward
        self._closing = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="bucket-notifications")
        self._thread.start()

    def is_idle(self) -> bool:
        """Whether every notification so far was forwarded. Raises what broke the thread."""
        if self._problem:
            raise self._problem
        return not self._aws.queue_length(self._queue_url)

    def close(self) -> None:
        """Stop after the messages in hand. Raises what broke the thread."""
        self._closing.set()
        self._aws.sqs.send_message(QueueUrl=self._queue_url, MessageBody="{}")  # ends the poll
        self._thread.join()
        if self._problem:
            raise self._problem

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._forward_next()
        except Exception as error:  # noqa: BLE001 - raised by `is_idle` or `close`
            self._problem = error

    def _forward_next(self) -> None:
        received = self._aws.sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=LONG_POLL_S,
            VisibilityTimeout=IN_HAND_S,
        )
        messages = received.get("Messages", [])
        if events := [e for m in messages for e in _events(json.loads(m["Body"]))]:
            time.sleep(METADATA_DELAY_S)
            self._forward(events)
        for message in messages:
            self._aws.sqs.delete_message(
                QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"]
            )


def settle(notifications: BucketNotifications, service: LambdaService) -> None:
    """Wait until every event so far has ended. Raises TimeoutError, or what broke either."""
    give_up = time.monotonic() + SETTLED_WITHIN_S
    while not (notifications.is_idle() and service.is_idle()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"Events still wait after {SETTLED_WITHIN_S:.0f} s.")
        time.sleep(POLL_S)


def _events(body: Json) -> list[Json]:
    """Return what the function receives: one event for each record, none for S3's test event."""
    if "detail" in body:
        return [as_aws_sends(body)]
    return [notification(record) for record in as_aws_sends(body).get("Records", [])]
