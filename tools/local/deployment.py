"""What template.yaml wires between a bucket and the function, on the local cloud.

    upload ──> S3 ──> (EventBridge ──>) EventQueue ──> batches ──> function ──> GCS
                                         ▲    └── failed too often ──> FailureQueue
                                         └──────────── redrive ───────────┘

moto's CloudFormation drops bucket notifications, so each resource is set up from what the template
says about it. Lambda's event source mapping is played here: batches, partial answers, nothing else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import boto3

from tools.local.aws import REGION
from tools.local.notifications import Json, as_s3_sends_it, is_of_moto_only
from tools.local.runtime import FunctionError

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageTypeDef

    from tools.local.aws import Aws

MAX_BATCHES = 1000
"""An event that comes back for ever is a defect, here or in the template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One invocation by the queue, and its answer: of a function that raised, its error."""

    event: Json
    answer: Json | FunctionError
    partial: bool
    """Whether Lambda reads the answer at all: the mapping's `ReportBatchItemFailures`."""

    def failed(self) -> set[str]:
        """Which messages Lambda leaves in the queue."""
        if isinstance(self.answer, FunctionError):
            return {record["messageId"] for record in self.event["Records"]}
        if not self.partial:
            return set()
        return {failure["itemIdentifier"] for failure in self.answer["batchItemFailures"]}

    def failed_keys(self) -> set[str]:
        """Of which objects these messages tell."""
        failed = self.failed()
        return {_key(r["body"]) for r in self.event["Records"] if r["messageId"] in failed}


class Deployment:
    """The queues, the bucket or the rule, and the mapping of one transformed template."""

    def __init__(
        self,
        aws: "Aws",
        resources: Mapping[str, Mapping[str, Any]],
        invoke: Callable[[object], Any],
        *,
        name: str,
    ) -> None:
        """`resources` are properties by logical name; `name` tells stacks on one cloud apart."""
        self.batches: list[Batch] = []
        self._sqs = aws.sqs
        self._invoke = invoke
        self._arns: dict[str, str] = {}
        self.failure_queue = self._make_queue(f"{name}-failures", "FailureQueue", resources)
        self.event_queue = self._make_queue(f"{name}-events", "EventQueue", resources)
        self._mapping = self._known(resources["EventQueueMapping"])
        if "SourceBucket" in resources:
            self._notify(aws, self._known(resources["SourceBucket"]))
        else:
            self._bridge(aws, f"{name}-rule", self._known(resources["BucketRule"]))

    def deliver(self) -> Batch | None:
        """Hand over one batch as Lambda does; None when no event waits.

        What failed can be received again at once: in AWS, after the queue's visibility timeout.
        """
        received = self._sqs.receive_message(
            QueueUrl=self.event_queue,
            MaxNumberOfMessages=self._mapping["BatchSize"],
            MessageSystemAttributeNames=["All"],
        )
        messages = {m["MessageId"]: m for m in received.get("Messages", [])}
        if not messages:
            return None
        batch = self._run({"Records": [self._record(m) for m in messages.values()]})
        for message_id, message in messages.items():
            handle = message["ReceiptHandle"]
            if message_id in batch.failed():
                self._sqs.change_message_visibility(
                    QueueUrl=self.event_queue, ReceiptHandle=handle, VisibilityTimeout=0
                )
            else:
                self._sqs.delete_message(QueueUrl=self.event_queue, ReceiptHandle=handle)
        return batch

    def drain(self) -> list[Batch]:
        """Deliver until no event waits: each is carried out, or rests in the failure queue."""
        batches: list[Batch] = []
        while batch := self.deliver():
            batches.append(batch)
            if len(batches) > MAX_BATCHES:
                raise TimeoutError(f"Events still wait after {MAX_BATCHES} batches.")
        return batches

    def keep_failure(self, event: Json, error: FunctionError) -> None:
        """Send what Lambda sends to a failure destination after the last asynchronous attempt."""
        record = {
            "version": "1.0",
            "timestamp": datetime.now(UTC).isoformat(),
            "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
            "requestPayload": event,
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "responsePayload": {"errorType": error.error_type, "errorMessage": error.message},
        }
        self._sqs.send_message(QueueUrl=self.failure_queue, MessageBody=json.dumps(record))

    def redrive(self) -> int:
        """`make redrive`: move what failed to the event queue, as new messages."""
        moved = 0
        while received := self._sqs.receive_message(
            QueueUrl=self.failure_queue, MaxNumberOfMessages=10
        ).get("Messages"):
            for message in received:
                self._sqs.send_message(QueueUrl=self.event_queue, MessageBody=message["Body"])
                self._sqs.delete_message(
                    QueueUrl=self.failure_queue, ReceiptHandle=message["ReceiptHandle"]
                )
                moved += 1
        return moved

    def waiting(self) -> int:
        """Events in the event queue."""
        return self._count(self.event_queue)

    def failed(self) -> int:
        """Events in the failure queue."""
        return self._count(self.failure_queue)

    def _run(self, event: Json) -> Batch:
        answer: Json | FunctionError
        try:
            answer = self._invoke(event)
        except FunctionError as error:
            answer = error
        types = self._mapping.get("FunctionResponseTypes", [])
        batch = Batch(event=event, answer=answer, partial="ReportBatchItemFailures" in types)
        self.batches.append(batch)
        return batch

    def _record(self, message: "MessageTypeDef") -> Json:
        """One record of the event with which Lambda hands over a queue's messages."""
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": json.dumps(_as_aws_sends_it(json.loads(message["Body"]))),
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._mapping["EventSourceArn"],
            "awsRegion": REGION,
        }

    def _make_queue(
        self, name: str, logical: str, resources: Mapping[str, Mapping[str, Any]]
    ) -> str:
        attributes = {
            attribute: json.dumps(value) if isinstance(value, dict) else str(value).lower()
            for attribute, value in self._known(resources[logical]).items()
            if attribute != "RedrivePolicy"
        }
        if policy := resources[logical].get("RedrivePolicy"):
            attributes["RedrivePolicy"] = json.dumps(self._known(policy))
        url = self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        self._arns[f"${{{logical}.Arn}}"] = found["Attributes"]["QueueArn"]
        return url

    def _notify(self, aws: "Aws", bucket: Json) -> None:
        """Make the bucket. What invokes the function directly is not played: moto cannot."""
        aws.create_bucket(bucket["BucketName"])
        queues = bucket["NotificationConfiguration"].get("QueueConfigurations", [])
        aws.s3.put_bucket_notification_configuration(
            Bucket=bucket["BucketName"],
            NotificationConfiguration={"QueueConfigurations": [_notified(q) for q in queues]},
        )

    def _bridge(self, aws: "Aws", name: str, rule: Json) -> None:
        """The user's part, a bucket that sends its events to EventBridge; and the template's."""
        (bucket,) = rule["EventPattern"]["detail"]["bucket"]["name"]
        aws.create_bucket(bucket)
        aws.s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        events = boto3.client(
            "events",
            region_name=REGION,
            endpoint_url=aws.endpoint_url,
            aws_access_key_id=aws.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=aws.environment["AWS_SECRET_ACCESS_KEY"],
        )
        events.put_rule(Name=name, EventPattern=json.dumps(rule["EventPattern"]))
        targets = [{"Id": t["Id"], "Arn": t["Arn"]} for t in rule["Targets"]]
        events.put_targets(Rule=name, Targets=targets)
        events.close()

    def _count(self, url: str) -> int:
        found = self._sqs.get_queue_attributes(
            QueueUrl=url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )
        return sum(int(count) for count in found["Attributes"].values())

    def _known(self, value: Any) -> Any:  # noqa: ANN401 - any part of a template
        """Put in the ARNs that are known by now."""
        if isinstance(value, Mapping):
            return {name: self._known(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._known(item) for item in value]
        return self._arns.get(value, value) if isinstance(value, str) else value


def _key(body: str) -> str:
    """The key in an event: as it is from EventBridge, encoded from S3."""
    told = json.loads(body)
    if "detail" in told:
        return str(told["detail"]["object"]["key"])
    return unquote_plus(told["Records"][0]["s3"]["object"]["key"])


def _notified(described: Json) -> Any:  # noqa: ANN401 - boto3's words for what the template says
    """Say for S3 what CloudFormation's words mean."""
    found = {"QueueArn": described["Queue"], "Events": [described["Event"]]}
    if "Filter" not in described:
        return found
    return {**found, "Filter": {"Key": {"FilterRules": described["Filter"]["S3Key"]["Rules"]}}}


def _as_aws_sends_it(body: Json) -> Json:
    """Repair moto's notifications; all else stays as it is."""
    records = body.get("Records", [])
    if records and all("sequencer" not in r["s3"]["object"] for r in records):
        kept = [as_s3_sends_it(r) for r in records if not is_of_moto_only(r)]
        return {**body, "Records": kept} if kept else {"Event": "s3:TestEvent"}
    return body
