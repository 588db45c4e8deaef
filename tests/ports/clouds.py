"""S3, Secrets Manager and GCS as servers on loopback, and the real adapters for them."""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import boto3
import pytest
from aws_server import moto_server
from botocore.config import Config
from contract.gcs_http import Gcs

from replicate.gcs import GcsDestination
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Tags
from replicate.protocol.plan import Policy
from replicate.protocol.replicator import Replicator
from replicate.reconcile.ports import Nominations, ReplicaListing, Reports, SourceListing
from replicate.reconcile.steps import Reconcile
from replicate.round_clock import RoundClock
from replicate.s3 import S3Source
from replicate.wiring import Environment
from tools.local.gcs import GcsServer

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

REGION = "us-east-1"
DESTINATION = "ports-destination"

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAPORTS", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}


class Clouds:
    """Both clouds, and a client of the owner for each. Call `close` at the end."""

    def __init__(self) -> None:
        with ExitStack() as opened:  # closes what is open when the rest fails
            self._open(opened)
            self._opened = opened.pop_all()

    def _open(self, opened: ExitStack) -> None:
        host, port = opened.enter_context(moto_server())
        self.server = opened.enter_context(GcsServer([DESTINATION]))
        endpoint = f"http://{host}:{port}"
        secret = f"ports-{uuid.uuid4().hex}"  # the secrets of all servers of a process are shared
        session = boto3.Session(
            KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], region_name=REGION
        )
        self.s3: S3Client = session.client(
            "s3",
            endpoint_url=endpoint,
            config=Config(request_checksum_calculation="when_required"),
        )
        opened.callback(self.s3.close)
        secrets = session.client("secretsmanager", endpoint_url=endpoint)
        secrets.create_secret(Name=secret, SecretString=json.dumps(self.server.create_key()))
        secrets.close()
        self.gcs = Gcs(self.server.url, DESTINATION, self.server.issue_token())
        self.environ: Mapping[str, str] = {
            **KEYS,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint,
            "GCS_BUCKET_NAME": DESTINATION,
            "GCP_CREDENTIALS_SECRET": secret,
            "SOURCE_BUCKETS": "ports-source",
            "STORAGE_EMULATOR_HOST": self.server.url,
        }

    def close(self) -> None:
        self._opened.close()


class Adapters:
    """The real adapters, as the composition root builds them."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        environment.deadline.restart(3600)

    def listings(self, page: int = 1000) -> tuple[SourceListing, ReplicaListing]:
        """Return the listings of both sides. S3's has pages of this size."""

        def limit(params: dict[str, object], **_: object) -> None:
            params.setdefault("MaxKeys", page)

        environment = self._environment
        events = environment.aws.client("s3", Deadline(60)).meta.events
        events.unregister("before-parameter-build.s3.ListObjectsV2", unique_id="page of a test")
        events.register(
            "before-parameter-build.s3.ListObjectsV2", limit, unique_id="page of a test"
        )
        built = self._reconcile()
        return built.source, built.replicas

    def reports(self, bucket: str) -> Reports:
        return self._reconcile(reports_bucket=bucket).reports

    def nominations(self, queue_url: str) -> Nominations:
        return self._reconcile(event_queue_url=queue_url).nominations

    def _reconcile(
        self, reports_bucket: str = "reports", event_queue_url: str = "no queue"
    ) -> Reconcile:
        environment = self._environment
        environment.deadline.restart(60)
        settings = replace(
            environment.settings, reports_bucket=reports_bucket, event_queue_url=event_queue_url
        )
        return replace(environment, settings=settings).reconcile()

    def replicator(self, policy: Policy | None = None, seconds: float = 60) -> Replicator:
        """Return a replicator, whose `source` and `destination` are the adapters."""
        environment, policy = self._environment, policy or Policy()
        deadline = Deadline(seconds)
        tags = policy.tags is not Tags.OFF
        return replace(
            environment.replicator(),
            policy=policy,
            source=S3Source(environment.aws, deadline, environment.retries, tags=tags),
            destination=GcsDestination(
                environment.gcs, environment.settings.naming, deadline, environment.retries
            ),
            clock=RoundClock(environment.retries, deadline),
        )


@contextmanager
def adapters(clouds: Clouds) -> Iterator[Adapters]:
    """Build the adapters. The variables stay set: the SDKs may read them at any time."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clouds.environ.items():
            patch.setenv(name, value)
        environment = Environment.from_environ(clouds.environ)
        try:
            yield Adapters(environment)
        finally:
            environment.close()
