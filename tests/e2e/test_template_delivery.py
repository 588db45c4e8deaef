"""The template's wiring: bucket → (EventBridge →) queue → function → GCS, failures and redrive.

Queues, notifications, rule, batch size, retries and the function's environment are those of the
transformed template; S3, SQS and EventBridge are moto's; the function runs in Lambda's runtime.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from replicate.retry import DEFAULT_POLICY
from tools.local.cloud import REPLICA, LocalCloud
from tools.local.deployment import Deployment, deployed
from tools.local.outages import Gates, Service

ODD_KEYS = ["a +b", "100%", "encoded%20already%2F", "ünïcödé/文件/🎉", "quotes ' \" & <tag> ? #"]


class Running:
    """A deployed template with its function, and keys of which a test sees no others."""

    def __init__(self, cloud: LocalCloud, deployment: Deployment, folder: str = "") -> None:
        self.cloud = cloud
        self.deployment = deployment
        self._folder = folder

    def put(self, key: str, data: bytes = b"bytes") -> None:
        self.cloud.aws.s3.put_object(Bucket=self.deployment.bucket, Key=self._key(key), Body=data)

    def delete(self, key: str) -> None:
        self.cloud.aws.s3.delete_object(Bucket=self.deployment.bucket, Key=self._key(key))

    def fail(self, key: str, status: int, times: int = 1000) -> None:
        """Let GCS refuse so many requests for an object."""
        self.cloud.google.add_fault(name=self._name(key), status=status, times=times)

    def replicas(self) -> dict[str, bytes]:
        """Return the bytes of each replica."""
        prefix = self._name("")
        blobs = self.cloud.google.bucket.client.list_blobs(REPLICA, prefix=prefix)
        return {blob.name.removeprefix(prefix): blob.download_as_bytes() for blob in blobs}

    def letters(self) -> list[str]:
        """Return the messages of the failure queue, and leave them there."""
        received = self.cloud.aws.sqs.receive_message(
            QueueUrl=self.deployment.failure_queue, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return [message["Body"] for message in received["Messages"]]

    def deliver(self) -> None:
        """Deliver all events to their ends."""
        self.deployment.settle()
        self.deployment.mapping.finish()

    def queues(self) -> tuple[int, int]:
        """Count the events in the event queue and in the dead-letter queue."""
        return self.deployment.waiting(), self.deployment.failed()

    def relative(self, keys: Iterable[str]) -> set[str]:
        return {key.removeprefix(self._folder) for key in keys}

    def clear(self) -> None:
        """Leave neither faults nor events behind."""
        self.cloud.google.clear_faults()
        self.deployment.redrive()
        self.deployment.mapping.finish()
        self.deployment.service.deliveries.clear()

    def _key(self, key: str) -> str:
        return f"{self._folder}{key}"

    def _name(self, key: str) -> str:
        return f"{self.deployment.bucket}/{self._key(key)}"


@contextmanager
def stack(cloud: LocalCloud, **parameters: str | float) -> Iterator[Deployment]:
    """Deploy the template with these parameters and a new bucket."""
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    with deployed(cloud, bucket, GcsKeyPrefix=f"{bucket}/", **parameters) as deployment:
        yield deployment


@pytest.fixture(scope="module", params=["new", "existing"])
def queued_stack(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[Deployment]:
    """Deploy with a queue: a new bucket sends to it, an existing one by EventBridge."""
    options = {"SourceBucketKind": request.param, "ReplicateDeletes": "true"}
    with stack(cloud, Delivery="queue", **options) as deployment:
        yield deployment


@pytest.fixture(scope="module", params=["new", "existing"])
def direct_stack(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[Deployment]:
    """Deploy without a queue: S3 or EventBridge invoke the function."""
    options = {"SourceBucketKind": request.param, "ReplicateDeletes": "true"}
    with stack(cloud, Delivery="direct", **options) as deployment:
        yield deployment


@pytest.fixture
def running(cloud: LocalCloud, queued_stack: Deployment) -> Iterator[Running]:
    running = Running(cloud, queued_stack, f"{uuid.uuid4().hex}/")
    running.deployment.mapping.drain()  # the test event that S3 sends first
    yield running
    running.clear()


@pytest.fixture
def direct(cloud: LocalCloud, direct_stack: Deployment) -> Iterator[Running]:
    running = Running(cloud, direct_stack, f"{uuid.uuid4().hex}/")
    running.deployment.settle()
    running.clear()
    yield running
    running.clear()


def test_an_upload_replicates_by_way_of_the_queue(running: Running) -> None:
    for key in ODD_KEYS:
        running.put(key, key.encode())
    batches = running.deployment.mapping.drain()
    assert max(len(batch.event["Records"]) for batch in batches) >= len(ODD_KEYS)
    assert all(batch.response == {"batchItemFailures": []} for batch in batches)
    assert running.replicas() == {key: key.encode() for key in ODD_KEYS}
    assert running.queues() == (0, 0)


def test_a_delete_replicates_by_way_of_the_queue(running: Running) -> None:
    running.put("kept")
    running.put("deleted")
    running.deployment.mapping.drain()
    assert running.replicas().keys() == {"kept", "deleted"}
    running.delete("deleted")
    running.deployment.mapping.drain()
    assert running.replicas().keys() == {"kept"}


def test_messages_of_a_batch_that_fail_for_good_are_kept_at_once_with_their_reason(
    running: Running,
) -> None:
    keys = [f"{number}.txt" for number in range(10)]
    poison = set(keys[3:6])
    for key in poison:
        running.fail(key, status=403)
    for key in keys:
        running.put(key)
    (batch,) = running.deployment.mapping.drain()
    assert len(batch.event["Records"]) == 10
    assert batch.failed_keys() == set()
    assert running.replicas().keys() == set(keys) - poison
    assert running.queues() == (0, 3)
    letters = [json.loads(body) for body in running.letters()]
    assert running.relative(letter["failures"][0]["source"]["key"] for letter in letters) == poison
    assert {letter["failures"][0]["code"] for letter in letters} == {"destination_forbidden"}


def test_only_messages_with_a_transient_failure_are_delivered_again(running: Running) -> None:
    keys = [f"{number}.txt" for number in range(10)]
    for key in keys[3:6]:
        running.fail(key, status=503, times=2 * DEFAULT_POLICY.attempts)
    for key in keys:
        running.put(key)
    first, *retries = running.deployment.mapping.finish()
    assert running.relative(first.failed_keys()) == set(keys[3:6])
    assert len(running.replicas()) == 10
    assert sum(len(batch.event["Records"]) for batch in retries) == 6
    assert running.queues() == (0, 0)


def test_an_event_that_fails_after_its_redrive_returns_to_the_failure_queue(
    running: Running,
) -> None:
    running.fail("a", status=403)
    running.put("a")
    for _ in range(3):
        running.deployment.mapping.drain()
        assert running.queues() == (0, 1)
        assert running.deployment.redrive() == 1
        assert running.queues() == (1, 0)
    running.cloud.google.clear_faults()
    running.deployment.mapping.drain()
    assert running.replicas().keys() == {"a"}
    assert running.queues() == (0, 0)


def test_an_upload_and_a_delete_replicate_directly(direct: Running) -> None:
    for key in ODD_KEYS:
        direct.put(key, key.encode())
    direct.deployment.settle()
    assert direct.replicas() == {key: key.encode() for key in ODD_KEYS}
    direct.delete(ODD_KEYS[0])
    direct.deployment.settle()
    assert direct.replicas().keys() == set(ODD_KEYS[1:])
    assert direct.queues() == (0, 0)


def test_a_direct_event_goes_on_in_the_queue_when_lambda_gives_up(direct: Running) -> None:
    """Lambda's own failure record goes to the event queue after two retries."""
    direct.fail("a", status=503)
    direct.put("a")
    direct.deployment.settle()
    (delivery,) = direct.deployment.service.deliveries
    assert delivery.attempts == 3
    assert direct.queues() == (1, 0)
    (batch,) = direct.deployment.mapping.drain()
    assert direct.relative(batch.failed_keys()) == {"a"}
    direct.cloud.google.clear_faults()
    direct.deployment.mapping.finish()
    assert direct.replicas().keys() == {"a"}
    assert direct.queues() == (0, 0)


@pytest.fixture
def gates(cloud: LocalCloud) -> Iterator[Gates]:
    """Return gates whose refusals let the function fail at once."""
    with closing(Gates(cloud.aws, cloud.google, retry_after_s=3600)) as gates:
        yield gates


@pytest.mark.parametrize(("delivery", "kind"), [("direct", "new"), ("queue", "existing")])
def test_outages_of_gcs_its_tokens_and_s3_heal_without_a_redrive(
    cloud: LocalCloud, gates: Gates, delivery: str, kind: str
) -> None:
    """Each is longer than Lambda's own retries and the first one of the queue."""
    gated = replace(cloud, function_environment=cloud.function_environment | gates.environment)
    options = {"SourceBucketKind": kind, "ReplicateDeletes": "true"}
    with stack(gated, Delivery=delivery, **options) as deployment:
        run = Running(cloud, deployment)
        for service in Service:
            kept, overwritten, deleted, new = (f"{service}/{n}" for n in range(4))
            for key in (kept, overwritten, deleted):
                run.put(key)
            run.deliver()
            before = run.replicas()
            assert {kept, overwritten, deleted} <= before.keys()
            with gates.outage(service):
                run.put(overwritten, b"later")
                run.put(new)
                run.delete(deleted)
                run.deployment.settle()
                failed = run.deployment.service.deliveries[-3:] if delivery == "direct" else []
                assert [each.attempts for each in failed if each.error] == [3] * len(failed)
                (batch, *_) = run.deployment.mapping.drain()
                assert batch.failed_keys() == {overwritten, new, deleted}
                assert run.replicas() == before
            run.deliver()
            assert run.replicas() == {
                **{key: data for key, data in before.items() if key != deleted},
                overwritten: b"later",
                new: b"bytes",
            }
            assert run.queues() == (0, 0)
        assert gates.refused() >= 3 * len(Service)


def test_a_direct_event_that_fails_for_good_is_kept_at_once(direct: Running) -> None:
    direct.fail("a", status=403)
    direct.put("a")
    direct.deployment.settle()
    (delivery,) = direct.deployment.service.deliveries
    assert (delivery.attempts, delivery.error) == (1, None)
    assert direct.queues() == (0, 1)
    direct.cloud.google.clear_faults()
    assert direct.deployment.redrive() == 1
    direct.deployment.mapping.finish()
    assert direct.replicas().keys() == {"a"}


@pytest.mark.parametrize(("delivery", "kind"), [("queue", "new"), ("direct", "existing")])
def test_a_key_outside_the_filters_is_not_replicated(
    cloud: LocalCloud, delivery: str, kind: str
) -> None:
    """The bucket's notification has the filters, or the rule. test_wiring.py has all four ways."""
    filters = {"SourcePrefix": "photos/", "SourceSuffix": ".jpg"}
    with stack(cloud, Delivery=delivery, SourceBucketKind=kind, **filters) as deployment:
        run = Running(cloud, deployment)
        for key in ("photos/a b.jpg", "photos/a.png", "other/a.jpg"):
            run.put(key)
        run.deployment.settle()
        run.deployment.mapping.drain()
        assert run.replicas().keys() == {"photos/a b.jpg"}
