"""What the function sends to the dead-letter queue, and when the event queue delivers again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from replicate.aws_calls import call
from replicate.aws_clients import AwsClients
from replicate.errors import UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy
from replicate.sqs.batches import batches

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import ChangeMessageVisibilityBatchRequestEntryTypeDef

_REMEDY = (
    "Allow the function's role sqs:SendMessage on the dead-letter queue and on the event queue,"
    " sqs:ChangeMessageVisibility on the event queue, and on their KMS key, if they have one,"
    " kms:GenerateDataKey and kms:Decrypt."
)


class SqsQueues:
    """See `settlement.settle.Queues`."""

    def __init__(
        self, clients: AwsClients, policy: RetryPolicy, *, event_queue: str, failure_queue: str
    ) -> None:
        """`event_queue` and `failure_queue` are URLs."""
        self._clients = clients
        self._policy = policy
        self._event_queue = event_queue
        self._failure_queue = failure_queue

    def store_letter(self, letter: str, deadline: Deadline) -> None:
        """See `Queues.store_letter`. A response that is lost may store the letter twice."""
        self._send(self._failure_queue, letter, 0, deadline)

    def resend(self, message: str, delay_s: int, deadline: Deadline) -> None:
        """See `Queues.resend`. A response that is lost may store the message twice."""
        self._send(self._event_queue, message, delay_s, deadline)

    def _send(self, url: str, body: str, delay_s: int, deadline: Deadline) -> None:
        def send() -> None:
            sqs = self._clients.client("sqs", deadline)
            sqs.send_message(QueueUrl=url, MessageBody=body, DelaySeconds=delay_s)

        call("SendMessage", send, self._policy, deadline, remedy=_REMEDY)

    def postpone(self, delays: Sequence[tuple[str, int]], deadline: Deadline) -> None:
        """See `Queues.postpone`."""
        for batch in batches(delays):
            self._postpone(batch, deadline)

    def _postpone(self, delays: Sequence[tuple[str, int]], deadline: Deadline) -> None:
        """Let one batch wait. SQS accepts or refuses each message by itself."""
        waiting: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
            {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": delay_s}
            for number, (handle, delay_s) in enumerate(delays)
        ]

        def change() -> None:
            nonlocal waiting
            sqs = self._clients.client("sqs", deadline)
            changed = sqs.change_message_visibility_batch(
                QueueUrl=self._event_queue, Entries=waiting
            )
            failed = changed.get("Failed", [])
            again = {each["Id"] for each in failed if not each["SenderFault"]}  # else it is gone
            waiting = [entry for entry in waiting if entry["Id"] in again]
            if waiting:
                raise UnavailableError(f"SQS did not postpone {len(waiting)} messages. Try again.")

        call("ChangeMessageVisibility", change, self._policy, deadline, remedy=_REMEDY)
