"""Deploys template.yaml onto the local cloud.

    upload ──> S3 ──> (EventBridge ──>) EventQueue ──> batches ──> function ──> GCS
                          or directly ───────^──── failed ─────────^    │ failed for good
                                             ^──────── redrive ──── FailureQueue

A large object, a reconcile: execution of a state machine ──> LambdaApi ──> function, in parallel

moto's CloudFormation ignores bucket notifications, so each resource is created here from the
properties that the transformed template has for it.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from tools.local import state_machines
from tools.local.aws import Aws
from tools.local.bucket_notifications import BucketNotifications, settle
from tools.local.cloud import REPLICA, LocalCloud
from tools.local.event_source_mapping import EventSourceMapping
from tools.local.lambda_service import RETRY_DELAYS_S, Delivery, LambdaService
from tools.local.large_objects import LargeObjects
from tools.local.notifications import SAMPLES, Json
from tools.local.runtime import LambdaRuntime
from tools.local.template import Stack
from tools.operate.redrive import redrive
from tools.operate.runs import Workflow

OF_THE_CLOUD = (
    "AWS_DEFAULT_REGION",
    "STORAGE_EMULATOR_HOST",
    "AWS_ENDPOINT_URL_S3",
    "GCS_FIRST_TIMEOUT_SECONDS",
)
"""Variables that a function has from its local cloud, and not from the template."""

POLL_S = 0.1
TIMEOUT_S = 60
"""The template's is 15 minutes: a function that waits so long in a test is defective."""

WAITS = {"RETRY_FIRST_SECONDS": "1", "RETRY_LONGEST_SECONDS": "2"}
"""Between retries the function waits a minute to an hour, and SQS counts in whole seconds."""

FAILURE: Json = json.loads((SAMPLES / "failure-record.json").read_text())


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployed template. Build it with `deployed`."""

    aws: Aws
    bucket: str
    function: LambdaRuntime
    """The first of the runtimes; the only one where there is no state machine."""
    runtimes: tuple[LambdaRuntime, ...]
    service: LambdaService
    notifications: BucketNotifications
    """Of S3 or EventBridge to the function, where the template's Delivery is `direct`."""
    mapping: EventSourceMapping
    event_queue: str
    failure_queue: str
    state_machine: str
    """The ARN of the one for large objects; empty without one."""
    reconcile_machine: str
    reports: str
    """Name of the bucket of reports."""

    def settle(self) -> None:
        """Wait until every event that goes to the function directly has ended."""
        settle(self.notifications, self.service)

    def redrive(self) -> int:
        """Move the events of the dead-letter queue to the event queue as `make redrive` does."""
        return redrive(self.aws.sqs, self.failure_queue, self.event_queue).moved.total()

    def reconcile(self, **request: object) -> Json:
        """Run the reconcile to its end; return its output. Raise OperatorError if it fails.

        `request` is the input of the execution.
        """
        sfn, s3 = self.aws.step_functions, self.aws.s3
        workflow = Workflow(sfn=sfn, s3=s3, machine=self.reconcile_machine, bucket=self.reports)
        run = workflow.start({"mode": "report", **request})
        while (output := run.end()) is None:
            time.sleep(POLL_S)
        return dict(output)

    def waiting(self) -> int:
        """Count the events in the event queue."""
        return self.aws.queue_length(self.event_queue)

    def failed(self) -> int:
        """Count the events in the dead-letter queue."""
        return self.aws.queue_length(self.failure_queue)


@contextmanager
def deployed(
    cloud: LocalCloud,
    bucket: str,
    large: LargeObjects | None = None,
    /,
    **parameters: str | float,
) -> Iterator[Deployment]:
    """Deploy the template with a source bucket of this name and these parameters.

    Without `large` there is no state machine for large objects.
    """
    stack = Stack(
        SourceBucketName=bucket,
        GcsBucketName=REPLICA,
        GcpCredentialsSecretArn=cloud.function_environment["GCP_CREDENTIALS_SECRET"],
        **parameters,
    )
    aws = cloud.aws
    described = json.dumps({name: each.properties for name, each in stack.resources.items()})
    for logical_id in ("FailureQueue", "EventQueue", "ReplicateFunction"):
        arn = aws.queue_arn(f"{bucket}-{logical_id}")  # of the function, too: moto cannot invoke it
        described = described.replace(f"${{{logical_id}.Arn}}", arn)
    resources: dict[str, Json] = json.loads(described)
    failure_queue = _create_queue(aws, f"{bucket}-FailureQueue", resources["FailureQueue"])
    event_queue = _create_queue(aws, f"{bucket}-EventQueue", resources["EventQueue"])
    asynchronous = resources["AsyncInvocations"]
    queues = {
        aws.queue_arn(f"{bucket}-FailureQueue"): failure_queue,
        aws.queue_arn(f"{bucket}-EventQueue"): event_queue,
    }
    direct_queue = aws.create_queue(f"{bucket}-ReplicateFunction")
    reports = f"{bucket}-reports"
    aws.create_bucket(reports)
    settings = {
        "LARGE_STATE_MACHINE_ARN": "",
        "EVENT_QUEUE_URL": event_queue,
        "FAILURE_QUEUE_URL": failure_queue,
        "REPORTS_BUCKET": reports,
        **WAITS,
    }
    if large:
        settings |= large.deploy(aws, bucket)
    functions = tuple(
        _function(cloud, f"{bucket}-{number}", resources["ReplicateFunction"], settings)
        for number in range(large.runtimes if large else 1)
    )
    with closing(
        LambdaService(
            functions,
            retry_delays_s=RETRY_DELAYS_S[: asynchronous["MaximumRetryAttempts"]],
            on_failure=lambda delivery: send_failure(
                aws, queues[asynchronous["DestinationConfig"]["OnFailure"]["Destination"]], delivery
            ),
        )
    ) as service:
        if "SourceBucket" in resources:
            _create_bucket(aws, resources["SourceBucket"])
        else:
            _create_rule(aws, f"{bucket}-rule", resources["BucketRule"])
        mapping = EventSourceMapping(
            aws, event_queue, resources["EventQueueMapping"], service.invoke
        )
        with (
            closing(BucketNotifications(aws, direct_queue, service.accept)) as notifications,
            cloud.lambda_api.serving(bucket, service.invoke),
        ):
            yield Deployment(
                aws=aws,
                bucket=bucket,
                function=functions[0],
                runtimes=functions,
                service=service,
                notifications=notifications,
                mapping=mapping,
                event_queue=event_queue,
                failure_queue=failure_queue,
                state_machine=settings["LARGE_STATE_MACHINE_ARN"],
                reconcile_machine=state_machines.create(aws, "reconcile", bucket),
                reports=reports,
            )


def _function(
    cloud: LocalCloud, name: str, properties: Json, settings: Mapping[str, str]
) -> LambdaRuntime:
    """Run the template's function, with the variables of this cloud and these further settings."""
    variables = {n: v for n, v in properties["Environment"]["Variables"].items() if v != ""}
    return LambdaRuntime(
        {
            **cloud.aws.environment,
            **{n: v for n, v in cloud.function_environment.items() if n in OF_THE_CLOUD},
            **variables,
            **settings,
        },
        folder=cloud.folder,
        handler=properties["Handler"],
        name=name,
        timeout_s=TIMEOUT_S,
        memory_mb=properties["MemorySize"],
    )


def _create_queue(aws: Aws, name: str, properties: Json) -> str:
    attributes = {
        attribute: json.dumps(value) if isinstance(value, dict) else str(value).lower()
        for attribute, value in properties.items()
    }
    return aws.create_queue(name, attributes)


def _create_bucket(aws: Aws, properties: Json) -> None:
    """Create the template's bucket; a notification to the function goes to its direct queue."""
    name, notifications = properties["BucketName"], properties["NotificationConfiguration"]
    found = [
        (described, described.get("Queue") or described["Function"])
        for kind in ("QueueConfigurations", "LambdaConfigurations")
        for described in notifications.get(kind, [])
    ]
    aws.create_bucket(name)
    aws.notify(name, {"QueueConfigurations": [_notification(*each) for each in found]})


def _notification(described: Json, arn: str) -> Json:
    """Translate CloudFormation's words into those of S3's API."""
    found = {"QueueArn": arn, "Events": [described["Event"]]}
    if "Filter" not in described:
        return found
    return {**found, "Filter": {"Key": {"FilterRules": described["Filter"]["S3Key"]["Rules"]}}}


def _create_rule(aws: Aws, name: str, properties: Json) -> None:
    """Create the user's bucket, which sends its events to EventBridge, and the template's rule."""
    (bucket,) = properties["EventPattern"]["detail"]["bucket"]["name"]
    aws.create_bucket(bucket)
    aws.notify(bucket, {"EventBridgeConfiguration": {}})
    aws.events.put_rule(Name=name, EventPattern=json.dumps(properties["EventPattern"]))
    targets = [{"Id": target["Id"], "Arn": target["Arn"]} for target in properties["Targets"]]
    aws.events.put_targets(Rule=name, Targets=targets)


def send_failure(aws: Aws, queue: str, delivery: Delivery) -> None:
    """Send what Lambda sends to a failure destination after the last attempt."""
    error = delivery.errors[-1]
    failure = {
        **FAILURE,
        "timestamp": datetime.now(UTC).isoformat(),
        "requestPayload": delivery.event,
        "responsePayload": {"errorType": error.error_type, "errorMessage": error.message},
    }
    aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(failure))
