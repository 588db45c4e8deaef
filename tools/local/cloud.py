"""The whole thing on one machine: AWS, Google Cloud, and the function between them.

    upload ──> S3 (moto) ──> SQS (moto) ──> BucketEvents ──> AsyncInvoker ──> LambdaRuntime ──> GCS
    curl ────> ApiGateway ──────────────────────────────────────────────────────────┘

Every port is picked free, so that any number of these run side by side, and everything ends with
the `with` block: also when this process is killed (see `guard`).
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.local.api_gateway import ApiGateway
from tools.local.aws import Aws
from tools.local.delivery import AsyncInvoker, BucketEvents, Delivery
from tools.local.google_cloud import GoogleCloud
from tools.local.runtime import LambdaRuntime

SOURCE = "source"
"""The bucket whose uploads replicate by themselves."""

SILENT = "source-silent"
"""A bucket that sends no events: for the API, and for events sent by hand."""

VERSIONED = "source-versioned"
"""The same with versioning."""

REPLICA = "replica"
"""The bucket in GCS."""

SECRET = "gcp-credentials"  # noqa: S105 - its name

SETTLED_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCloud:
    """The running parts. Build it with `local_cloud`."""

    folder: Path
    aws: Aws
    google: GoogleCloud
    function: LambdaRuntime
    function_environment: dict[str, str]
    invoker: AsyncInvoker
    events: BucketEvents
    api: ApiGateway

    def settle(self, timeout_s: float = SETTLED_WITHIN_S) -> None:
        """Wait until every upload so far has been delivered to the function."""
        self.events.settle(timeout_s)

    def another_function(self, name: str) -> LambdaRuntime:
        """A second execution environment of the same function. `close` it."""
        return LambdaRuntime(self.function_environment, folder=self.folder, name=name)


@contextmanager
def local_cloud(
    *,
    on_delivery: Callable[[Delivery], None] = lambda _: None,
    deletes: bool = True,
    memory_mb: int = 1024,
) -> Iterator[LocalCloud]:
    """Run a local cloud with three source buckets, one replica bucket and the function."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="local-cloud-")))
        with ThreadPoolExecutor() as both:  # they take a second each to start, mostly waiting
            starting = both.submit(Aws, folder)
            stack.callback(lambda: starting.result().close())
            google = GoogleCloud(folder, REPLICA)
            stack.callback(google.close)
        aws = starting.result()
        environment = _function_environment(aws, google, deletes=deletes)
        function = LambdaRuntime(environment, folder=folder, memory_mb=memory_mb)
        stack.callback(function.close)
        invoker = AsyncInvoker(function.invoke, on_delivery=on_delivery)
        for name in (SOURCE, SILENT):
            aws.create_bucket(name)
        aws.create_bucket(VERSIONED, versioned=True)
        events = BucketEvents(aws.sqs, aws.notify_queue(SOURCE), invoker.deliver)
        stack.callback(events.close)
        api = ApiGateway(function.invoke)
        stack.callback(api.close)
        yield LocalCloud(
            folder=folder,
            aws=aws,
            google=google,
            function=function,
            function_environment=environment,
            invoker=invoker,
            events=events,
            api=api,
        )


def _function_environment(aws: Aws, google: GoogleCloud, *, deletes: bool) -> dict[str, str]:
    """What template.yaml and Lambda itself set on the function."""
    return {
        **aws.environment,
        "AWS_DEFAULT_REGION": aws.environment["AWS_REGION"],
        "STORAGE_EMULATOR_HOST": google.url,
        "GCS_BUCKET_NAME": REPLICA,
        "GCP_CREDENTIALS_SECRET": aws.create_secret(SECRET, json.dumps(google.key)),
        "SOURCE_BUCKETS": f"{SOURCE},{SILENT},{VERSIONED}",
        "REPLICATE_DELETES": str(deletes).lower(),
        "POWERTOOLS_SERVICE_NAME": "replicate",
        "POWERTOOLS_METRICS_NAMESPACE": "S3ToGcs",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }
