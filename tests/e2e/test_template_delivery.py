"""The template's own wiring, run: bucket → (EventBridge →) queue → function → GCS, and redrive.

Queues, notification, rule, batch size, redrive policy and the function's environment are those of
the transformed template; S3, SQS and EventBridge are moto's; the function runs in Lambda's runtime.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tools.local.cloud import REPLICA, LocalCloud
from tools.local.deploy import deployed
from tools.local.deployment import Deployment
from tools.local.notifications import notification, record
from tools.local.runtime import FunctionError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ODD_KEYS = ["a +b", "100%", "encoded%20already%2F", "ünïcödé/文件/🎉", "quotes ' \" & <tag> ? #"]
RECEIVED_BEFORE_REST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A deployed template with its function."""

    cloud: LocalCloud
    deployment: Deployment
    bucket: str

    @property
    def s3(self) -> "S3Client":
        return self.cloud.aws.s3

    def put(self, key: str, data: bytes = b"bytes") -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def replicas(self) -> set[str]:
        blobs = self.cloud.google.bucket.client.list_blobs(REPLICA, prefix=f"{self.bucket}/")
        return {blob.name.removeprefix(f"{self.bucket}/") for blob in blobs}


@contextmanager
def running_stack(cloud: LocalCloud, **parameters: str | float) -> Iterator[Running]:
    """Deploy the template with these parameters, each time with a bucket of its own."""
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    with deployed(cloud, bucket, GcsKeyPrefix=f"{bucket}/", **parameters) as stack:
        try:
            yield Running(cloud=cloud, deployment=stack.wiring, bucket=bucket)
        finally:
            cloud.google.clear_faults()


@pytest.fixture(params=["new", "existing"])
def running(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[Running]:
    """Through the queue: a new bucket's notifications, and an existing one's by EventBridge."""
    options = {"SourceBucketKind": request.param, "ReplicateDeletes": "true"}
    with running_stack(cloud, Delivery="queue", **options) as run:
        yield run


def test_an_upload_travels_the_whole_way(running: Running) -> None:
    for key in ODD_KEYS:
        running.put(key, key.encode())
    batches = running.deployment.drain()
    assert max(len(batch.event["Records"]) for batch in batches) >= len(ODD_KEYS)
    assert {json.dumps(batch.answer) for batch in batches} == {'{"batchItemFailures": []}'}
    assert running.replicas() == set(ODD_KEYS)
    assert running.deployment.failed() == running.deployment.waiting() == 0
    for key in ODD_KEYS:
        blob = running.cloud.google.bucket.get_blob(f"{running.bucket}/{key}")
        assert blob is not None
        assert blob.download_as_bytes() == key.encode()


def test_a_delete_travels_the_same_way(running: Running) -> None:
    running.put("kept")
    running.put("deleted")
    running.deployment.drain()
    assert running.replicas() == {"kept", "deleted"}
    running.s3.delete_object(Bucket=running.bucket, Key="deleted")
    running.deployment.drain()
    assert running.replicas() == {"kept"}


def test_of_ten_with_three_that_fail_exactly_these_go_back_and_then_to_rest(
    running: Running,
) -> None:
    running.deployment.drain()  # the test event that S3 sends when it is set up
    keys = [f"{number}.txt" for number in range(10)]
    poison = set(keys[3:6])
    for key in poison:
        running.cloud.google.add_fault(name=f"{running.bucket}/{key}", status=403, times=1000)
    for key in keys:
        running.put(key)
    first, *again = running.deployment.drain()
    assert len(first.event["Records"]) == 10
    assert first.failed_keys() == poison
    assert [batch.failed_keys() for batch in again] == [poison] * (RECEIVED_BEFORE_REST - 1)
    assert running.replicas() == set(keys) - poison
    assert (running.deployment.waiting(), running.deployment.failed()) == (0, 3)


def test_what_fails_again_after_a_redrive_rests_again_and_is_lost_never(running: Running) -> None:
    name = f"{running.bucket}/a"
    running.cloud.google.add_fault(name=name, status=403, times=1000)
    running.put("a")
    for _ in range(3):
        running.deployment.drain()
        assert (running.deployment.waiting(), running.deployment.failed()) == (0, 1)
        assert running.deployment.redrive() == 1
        assert (running.deployment.waiting(), running.deployment.failed()) == (1, 0)
    running.cloud.google.clear_faults()
    running.deployment.drain()
    assert running.replicas() == {"a"}
    assert running.deployment.failed() == 0


def test_a_throttling_and_failing_gcs_drains_to_nothing_lost_after_redrive(
    running: Running,
) -> None:
    keys = [f"{number}.txt" for number in range(12)]
    for number, key in enumerate(keys):
        status = (429, 503, 500)[number % 3]
        times = 1000 if number % 4 == 0 else number
        name = f"{running.bucket}/{key}"
        running.cloud.google.add_fault(name=name, status=status, times=times)
        running.put(key)
    running.deployment.drain()
    kept = running.deployment.failed()
    assert kept >= 3
    assert len(running.replicas()) + kept == len(keys)
    running.cloud.google.clear_faults()
    assert running.deployment.redrive() == kept
    running.deployment.drain()
    assert running.replicas() == set(keys)
    assert (running.deployment.waiting(), running.deployment.failed()) == (0, 0)


def test_of_a_direct_deployment_lambdas_failure_record_is_run_again(cloud: LocalCloud) -> None:
    """In direct mode the queue serves the redrive alone."""
    with running_stack(cloud, Delivery="direct") as run:
        run.put("a")
        assert run.deployment.waiting() == 0
        event = notification(record(run.bucket, "a", size=5))
        run.deployment.keep_failure(event, FunctionError("BatchFailedError", "made up"))
        assert run.deployment.redrive() == 1
        (batch,) = run.deployment.drain()
        assert batch.answer == {"batchItemFailures": []}
        assert run.replicas() == {"a"}


def test_a_key_outside_the_filters_is_not_replicated(cloud: LocalCloud) -> None:
    for kind in ("new", "existing"):
        filters = {"SourcePrefix": "photos/", "SourceSuffix": ".jpg"}
        with running_stack(cloud, Delivery="queue", SourceBucketKind=kind, **filters) as run:
            for key in ("photos/a b.jpg", "photos/a.png", "other/a.jpg"):
                run.put(key)
            run.deployment.drain()
            assert run.replicas() == {"photos/a b.jpg"}
