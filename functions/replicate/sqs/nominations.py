"""Implement the port `Nominations`: events for keys that differ, in batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from replicate.aws_calls import call
from replicate.aws_clients import AwsClients
from replicate.entry.nomination import write_message
from replicate.errors import UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef
from replicate.retry import RetryPolicy
from replicate.sqs.batches import batches

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

_REMEDY = "Allow the function's role sqs:SendMessage on the event queue."


class SqsNominations:
    """The event queue."""

    def __init__(
        self, clients: AwsClients, deadline: Deadline, policy: RetryPolicy, queue_url: str
    ) -> None:
        self._clients = clients
        self._deadline = deadline
        self._policy = policy
        self._queue_url = queue_url

    def send(self, refs: Sequence[SourceRef]) -> None:
        """See `Nominations.send`."""
        for batch in batches(refs):
            self._send(batch)

    def _send(self, refs: Sequence[SourceRef]) -> None:
        """Send one batch. SQS accepts or refuses each message by itself."""
        waiting: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(number), "MessageBody": write_message(ref)}
            for number, ref in enumerate(refs)
        ]

        def send() -> None:
            nonlocal waiting
            client = self._clients.client("sqs", self._deadline)
            sent = client.send_message_batch(QueueUrl=self._queue_url, Entries=waiting)
            refused = {failed["Id"]: failed["Code"] for failed in sent.get("Failed", [])}
            waiting = [entry for entry in waiting if entry["Id"] in refused]
            if waiting:
                codes = ", ".join(sorted(set(refused.values())))
                raise UnavailableError(
                    f"SQS did not accept {len(waiting)} nominations ({codes}). Try again."
                )

        call("SendMessageBatch", send, self._policy, self._deadline, remedy=_REMEDY)
