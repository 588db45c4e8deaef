"""The whole service on one machine: AWS, Google Cloud, and the function between them.

    upload ──> S3 (moto) ──> SQS (moto) ──> BucketNotifications ──> LambdaService ──> GCS
    curl ────> ApiGateway ──────────────────────────────────────────────^

Every port is a free one, so several local clouds can run side by side. All processes end with the
`with` block, or with this process (see `tools.common.guard`).
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.local import google_cloud
from tools.local.api_gateway import ApiGateway
from tools.local.aws import Aws
from tools.local.bucket_notifications import BucketNotifications, settle
from tools.local.google_cloud import GoogleCloud
from tools.local.lambda_api import LambdaApi
from tools.local.lambda_service import Delivery, LambdaService
from tools.local.runtime import LambdaRuntime

SOURCE = "source"
"""The bucket whose events reach the function."""

API_ONLY_BUCKET = "source-api-only"
"""Sends no events: for the API, and for events that a test delivers itself."""

VERSIONED = "source-versioned"
"""Sends no events and has versioning."""

REPLICA = "replica"
"""The bucket in GCS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCloud:
    """The running parts. Build it with `local_cloud`."""

    folder: Path
    aws: Aws
    google: GoogleCloud
    function: LambdaRuntime
    function_environment: dict[str, str]
    service: LambdaService
    notifications: BucketNotifications
    api: ApiGateway
    lambda_api: LambdaApi

    def settle(self) -> None:
        """Wait until every event so far has ended. Raises TimeoutError."""
        settle(self.notifications, self.service)

    def another_function(self, name: str) -> LambdaRuntime:
        """Start a second execution environment of the same function. `close` it."""
        return LambdaRuntime(self.function_environment, folder=self.folder, name=name)


@contextmanager
def local_cloud(
    *,
    on_delivery: Callable[[Delivery], None] = lambda _: None,
    gcs_command: Sequence[str] = google_cloud.COMMAND,
    **settings: str,
) -> Iterator[LocalCloud]:
    """Run a local cloud with three source buckets, one replica bucket and the function.

    `settings` are further variables of the function.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="local-cloud-")))
        lambda_api = LambdaApi()
        stack.callback(lambda_api.close)
        with ThreadPoolExecutor() as executor:  # each takes a second to start
            starting = executor.submit(Aws, folder, lambda_port=lambda_api.port)
            stack.callback(lambda: starting.result().close())
            google = GoogleCloud(folder, REPLICA, command=gcs_command)
            stack.callback(google.close)
        aws = starting.result()
        for name in (SOURCE, API_ONLY_BUCKET):
            aws.create_bucket(name)
        aws.create_bucket(VERSIONED, versioned=True)
        environment = _function_environment(aws, google) | settings
        function = LambdaRuntime(environment, folder=folder)
        service = LambdaService([function], on_delivery=on_delivery)
        stack.callback(service.close)
        notifications = BucketNotifications(aws, aws.notify_queue(SOURCE), service.accept)
        stack.callback(notifications.close)
        api = ApiGateway(service.invoke)
        stack.callback(api.close)
        yield LocalCloud(
            folder=folder,
            aws=aws,
            google=google,
            function=function,
            function_environment=environment,
            service=service,
            notifications=notifications,
            api=api,
            lambda_api=lambda_api,
        )


def _function_environment(aws: Aws, google: GoogleCloud) -> dict[str, str]:
    """Return the variables that template.yaml and Lambda set on the function."""
    return {
        **aws.environment,
        "AWS_DEFAULT_REGION": aws.environment["AWS_REGION"],
        "STORAGE_EMULATOR_HOST": google.url,
        "GCS_BUCKET_NAME": REPLICA,
        "GCP_CREDENTIALS_SECRET": aws.create_secret("gcp-credentials", json.dumps(google.key)),
        "SOURCE_BUCKETS": f"{SOURCE},{API_ONLY_BUCKET},{VERSIONED}",
        "REPLICATE_DELETES": "true",
        "REPLICATE_LIFECYCLE_DELETES": "true",  # else a killed run may leave an extra replica
        "GCS_FIRST_TIMEOUT_SECONDS": "10",  # this machine may be busy
        "POWERTOOLS_SERVICE_NAME": "replicate",
        "POWERTOOLS_METRICS_NAMESPACE": "S3ToGcs",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }
