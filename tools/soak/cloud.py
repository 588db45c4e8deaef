"""The local cloud of a soak: a GCS server with faults, and several Lambda runtimes."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.common.reconciling import Report, reconcile
from tools.local.aws import Aws
from tools.local.cloud import local_cloud
from tools.local.event_source_mapping import EventSourceMapping
from tools.local.google_cloud import GoogleCloud
from tools.local.lambda_api import LambdaApi
from tools.local.lambda_service import LambdaService
from tools.local.large_objects import LargeObjects
from tools.local.notifications import Json
from tools.local.runtime import LambdaRuntime
from tools.soak.options import Options

SOURCE = "soak"
REPORTS = "soak-reports"
FAULTS_LOG = "faults.jsonl"
STAGING = ".s3-to-gcs-replicator/"
"""The names of parts begin with it. They are no replicas."""

VISIBILITY_S = 120
"""Longer than a run takes."""

MOST_RECEIVED = 1000
RETRIES = {"RETRY_FIRST_SECONDS": "1", "RETRY_LONGEST_SECONDS": "8"}
"""Of failed messages. The function's own are a minute to an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakCloud:
    """The running parts."""

    folder: Path
    aws: Aws
    google: GoogleCloud
    runtimes: list[LambdaRuntime]
    queue_url: str
    lambda_api: LambdaApi
    event_queue: str
    """Holds failed events, and messages that wait for executions of large objects."""
    failed_queue: str

    def mapping(self, service: LambdaService) -> EventSourceMapping:
        """Return what invokes the function with the messages of the event queue."""
        properties = {
            "EventSourceArn": self.aws.queue_arn(f"{SOURCE}-waiting"),
            "BatchSize": 10,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        }
        return EventSourceMapping(self.aws, self.event_queue, properties, service.invoke)

    def letters(self) -> list[Json]:
        """Take the first events out of the dead-letter queue."""
        received = self.aws.sqs.receive_message(QueueUrl=self.failed_queue, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in received.get("Messages", [])]

    def reconcile(self) -> Report:
        """Compare both sides by their listings, as the function does it. Nothing is young."""
        return Report.read(self.aws.s3, reconcile(self.runtimes[0].invoke, grace_minutes=0))

    def faults(self) -> list[Json]:
        """Return every fault that happened, as `FaultInjector` logs it."""
        log = (self.folder / FAULTS_LOG).read_text()
        return [json.loads(line) for line in log.splitlines()]

    def requests(self) -> Counter[str]:
        """Count the requests to GCS by operation."""
        return Counter(request["operation"] for request in self.google.requests())


@contextmanager
def soak_cloud(options: Options) -> Iterator[SoakCloud]:
    """Run everything. All processes end with the `with` block."""
    gcs = [
        *("-m", "tools.soak.gcs", "--log", FAULTS_LOG),
        *("--faults", str(options.faults), "--seed", str(options.seed)),
        *("--outage-every-s", str(options.outage_every_s if options.faults else 0)),
    ]
    with local_cloud(gcs_command=gcs) as cloud, ExitStack() as stack:
        aws = cloud.aws
        failed_queue = aws.create_queue(f"{SOURCE}-failed")
        redrive = {
            "deadLetterTargetArn": aws.queue_arn(f"{SOURCE}-failed"),
            "maxReceiveCount": MOST_RECEIVED,
        }
        event_queue = aws.create_queue(
            f"{SOURCE}-waiting",
            {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": str(VISIBILITY_S)},
        )
        environment = {
            **cloud.function_environment,
            "SOURCE_BUCKETS": SOURCE,
            "EVENT_QUEUE_URL": event_queue,
            "FAILURE_QUEUE_URL": failed_queue,
            "REPORTS_BUCKET": REPORTS,
            **RETRIES,
            **LargeObjects(sizes=options.sizes).deploy(aws, SOURCE),
        }
        runtimes = []
        for number in range(options.workers):
            runtime = LambdaRuntime(environment, folder=cloud.folder, name=f"soak-{number}")
            stack.callback(runtime.close)
            runtimes.append(runtime)
        aws.create_bucket(SOURCE)
        aws.create_bucket(REPORTS)
        yield SoakCloud(
            folder=cloud.folder,
            aws=aws,
            google=cloud.google,
            runtimes=runtimes,
            queue_url=aws.notify_queue(SOURCE),
            lambda_api=cloud.lambda_api,
            event_queue=event_queue,
            failed_queue=failed_queue,
        )
