"""The local cloud of a soak: GCS with faults, several Lambda runtimes, gates between them."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
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
from tools.local.outages import Gates
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
SHORTER = 30
"""All waits between attempts are those of AWS and of the template divided by it.

An outage of 25 seconds stands for one of 12 minutes: it is longer than Lambda's own retries.
"""

RETRY_AFTER_S = 31
"""What services ask for in an outage. The function itself waits for 30 seconds at most."""

RETRY_DELAYS_S = (60 / SHORTER, 120 / SHORTER)
"""Before Lambda's two retries."""

WAITS = {
    "RETRY_FIRST_SECONDS": str(60 // SHORTER),
    "RETRY_LONGEST_SECONDS": str(3600 // SHORTER),
    "EXECUTION_SETTLE_SECONDS": str(960 // SHORTER),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakCloud:
    """The running parts."""

    folder: Path
    aws: Aws
    google: GoogleCloud
    gates: Gates
    runtimes: list[LambdaRuntime]
    queue_url: str
    lambda_api: LambdaApi
    event_queue: str
    """Holds failed events, and messages that wait for executions of large objects."""
    failed_queue: str
    state_machine: str

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

    def executions(self) -> Counter[str]:
        """Count the executions by how they ended."""
        pages = self.aws.step_functions.get_paginator("list_executions").paginate(
            stateMachineArn=self.state_machine
        )
        return Counter(found["status"] for page in pages for found in page["executions"])

    def reconcile(self) -> Report:
        """Compare both sides by their listings, as the function does it. Nothing is young."""
        runtime = self.runtimes[0]
        runtime.restart()  # its process may have been killed last of all, and nobody retries a step
        return Report.read(self.aws.s3, reconcile(runtime.invoke, grace_minutes=0))

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
    ]
    with local_cloud(gcs_command=gcs) as cloud, ExitStack() as stack:
        aws = cloud.aws
        gates = stack.enter_context(closing(Gates(aws, cloud.google, retry_after_s=RETRY_AFTER_S)))
        large = LargeObjects(sizes=options.sizes).deploy(aws, SOURCE)
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
            **gates.environment,
            "SOURCE_BUCKETS": SOURCE,
            "EVENT_QUEUE_URL": event_queue,
            "FAILURE_QUEUE_URL": failed_queue,
            "REPORTS_BUCKET": REPORTS,
            **large,
            **WAITS,
        }
        runtimes = []
        for number in range(options.workers):
            compress = {"COMPRESS_EGRESS": str(number < options.with_gzip).lower()}
            runtime = LambdaRuntime(
                environment | compress, folder=cloud.folder, name=f"soak-{number}"
            )
            stack.callback(runtime.close)
            runtimes.append(runtime)
        aws.create_bucket(SOURCE)
        aws.create_bucket(REPORTS)
        yield SoakCloud(
            folder=cloud.folder,
            aws=aws,
            google=cloud.google,
            gates=gates,
            runtimes=runtimes,
            queue_url=aws.notify_queue(SOURCE),
            lambda_api=cloud.lambda_api,
            event_queue=event_queue,
            failed_queue=failed_queue,
            state_machine=large["LARGE_STATE_MACHINE_ARN"],
        )
