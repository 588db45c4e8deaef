"""The dead-letter queue and the event queue, over the network."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import boto3
import pytest
from canned import serve_responses

from replicate.aws_clients import AwsClients
from replicate.errors import ReplicationError, SettingsError, UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy
from replicate.sqs.queues import SqsQueues

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

POLICY = RetryPolicy(attempts=3, first_delay_s=0.01)
LONG = Deadline(60, clock=lambda: 0.0)


@pytest.fixture
def sqs(aws: str) -> Iterator["SQSClient"]:  # noqa: ARG001 - for its variables
    with closing(boto3.client("sqs")) as client:
        yield client


@pytest.fixture
def new_queue(sqs: "SQSClient") -> Callable[[], str]:
    """Return a function that makes a queue whose messages stay hidden for an hour."""
    return lambda: sqs.create_queue(
        QueueName=uuid.uuid4().hex, Attributes={"VisibilityTimeout": "3600"}
    )["QueueUrl"]


@pytest.fixture
def clients(aws: str) -> Iterator[AwsClients]:  # noqa: ARG001 - for its variables
    with closing(AwsClients("us-east-1", POLICY)) as clients:
        yield clients


def receive(sqs: "SQSClient", url: str) -> list["MessageTypeDef"]:
    return sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    ).get("Messages", [])


def test_letter_is_stored(
    clients: AwsClients, sqs: "SQSClient", new_queue: Callable[[], str]
) -> None:
    url = new_queue()
    SqsQueues(clients, POLICY, event_queue="", failure_queue=url).store_letter('{"ü": 1}', LONG)
    assert [message["Body"] for message in receive(sqs, url)] == ['{"ü": 1}']


def test_message_is_sent_again_with_a_delay(
    clients: AwsClients, sqs: "SQSClient", new_queue: Callable[[], str]
) -> None:
    url = new_queue()
    queues = SqsQueues(clients, POLICY, event_queue=url, failure_queue="")
    queues.resend("later", 900, LONG)
    queues.resend("now", 0, LONG)
    assert [message["Body"] for message in receive(sqs, url)] == ["now"]


def test_message_is_delivered_again_after_its_delay_and_more_than_ten_can_wait(
    clients: AwsClients, sqs: "SQSClient", new_queue: Callable[[], str]
) -> None:
    url = new_queue()
    for number in range(12):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    handles = [m["ReceiptHandle"] for _ in range(2) for m in receive(sqs, url)]
    assert (len(handles), receive(sqs, url)) == (12, [])
    queues = SqsQueues(clients, POLICY, event_queue=url, failure_queue="")
    queues.postpone([(handle, 0) for handle in handles[1:]] + [("gone", 0)], LONG)
    again = [message for _ in range(2) for message in receive(sqs, url)]
    assert len(again) == 11
    assert {m["Attributes"]["ApproximateReceiveCount"] for m in again} == {"2"}


def test_messages_that_sqs_does_not_postpone_are_postponed_again(
    clients: AwsClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are gone are not. A whole batch has the status 200."""
    failed = [
        {"Id": "0", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"},
        {"Id": "1", "SenderFault": False, "Code": "InternalError"},
    ]
    body = json.dumps({"Successful": [{"Id": "2"}], "Failed": failed}).encode()
    with serve_responses((200, body)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        queues = SqsQueues(clients, POLICY, event_queue="http://e", failure_queue="")
        with pytest.raises(UnavailableError, match=r"^SQS did not postpone 1 messages\. Try again"):
            queues.postpone([("gone", 9), ("fails", 9), ("waits", 9)], LONG)
        assert server.request_count == POLICY.attempts


REQUESTS: dict[str, tuple[str, Callable[[SqsQueues], None]]] = {
    "store_letter": ("SendMessage", lambda queues: queues.store_letter("letter", LONG)),
    "resend": ("SendMessage", lambda queues: queues.resend("later", 900, LONG)),
    "postpone": ("ChangeMessageVisibility", lambda queues: queues.postpone([("1", 9)], LONG)),
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize(
    ("status", "error"), [(403, SettingsError), (503, UnavailableError)], ids=str
)
def test_refused_request_says_what_to_allow_and_a_failed_one_is_repeated(
    clients: AwsClients,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    error: type[ReplicationError],
    request_name: str,
) -> None:
    body = b'{"__type": "AccessDenied", "message": "no"}'
    operation, send = REQUESTS[request_name]
    with serve_responses((status, body)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        queues = SqsQueues(clients, POLICY, event_queue="http://e", failure_queue="http://f")
        with pytest.raises(error) as caught:
            send(queues)
        assert server.request_count == (1 if status == 403 else POLICY.attempts)
    said = {
        403: (
            "was refused (AccessDenied). Allow the function's role sqs:SendMessage on the"
            " dead-letter queue and on the event queue, sqs:ChangeMessageVisibility on the event"
            " queue, and on their KMS key, if they have one, kms:GenerateDataKey and kms:Decrypt."
        ),
        503: "failed (AccessDenied). Try again.",
    }
    assert caught.value.message == f"{operation} {said[status]}"
