"""What the demo's steps and the end-to-end tests do with the local cloud, and what they check."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from random import Random
from typing import Any

from boto3.s3.transfer import TransferConfig
from rich.console import Console

from tools.common import http
from tools.local import output
from tools.local.audit import Pair, audit
from tools.local.cloud import API_ONLY_BUCKET, SOURCE, VERSIONED, LocalCloud
from tools.local.deployment import Deployment
from tools.local.lambda_service import Delivery
from tools.local.notifications import Json, record

FOREVER = 10_000
"""Times that a fault applies: more than one step has requests."""


STAGING = ".s3-to-gcs-replicator/staging/"
"""The default of STAGING_PREFIX."""


class ExpectationError(Exception):
    """A step had another result than the service promises."""


@dataclass(slots=True)
class DemoContext:
    """A local cloud, and in it a deployed template that receives events through its queue."""

    cloud: LocalCloud
    queued: Deployment
    first_event: Json = field(default_factory=dict)
    """Of the demo's first upload; later steps deliver it again."""
    console: Console = field(default_factory=output.console)
    """Shows the progress of a step that takes seconds."""

    def upload(self, key: str, data: bytes, **options: Any) -> Delivery:  # noqa: ANN401 - boto3's
        """Put an object into the bucket that sends events; return the delivery of its event."""
        s3 = self.cloud.aws.s3
        return self._delivery_of(
            lambda: s3.put_object(Bucket=SOURCE, Key=key, Body=data, **options)
        )

    def upload_in_parts(self, key: str, data: bytes, part_bytes: int) -> Delivery:
        """Put an object by a multipart upload."""
        s3, file = self.cloud.aws.s3, BytesIO(data)
        parts = TransferConfig(multipart_threshold=part_bytes, multipart_chunksize=part_bytes)
        return self._delivery_of(lambda: s3.upload_fileobj(file, SOURCE, key, Config=parts))

    def replace_metadata(self, key: str, content_type: str, metadata: dict[str, str]) -> Delivery:
        """Copy an object onto itself, with other metadata."""
        s3 = self.cloud.aws.s3
        return self._delivery_of(
            lambda: s3.copy_object(
                Bucket=SOURCE,
                Key=key,
                CopySource={"Bucket": SOURCE, "Key": key},
                MetadataDirective="REPLACE",
                ContentType=content_type,
                Metadata=metadata,
            )
        )

    def delete(self, key: str) -> Delivery:
        s3 = self.cloud.aws.s3
        return self._delivery_of(lambda: s3.delete_object(Bucket=SOURCE, Key=key))

    def deliver(self, event: Json) -> Delivery:
        """Invoke the function asynchronously; wait until the event has ended."""
        return self.cloud.service.invoke_async(event).result()

    def redrive(self) -> list[Delivery]:
        """Deliver again the events that failed."""
        return [delivery.result() for delivery in self.cloud.service.redrive()]

    def put_without_event(self, key: str, data: bytes) -> Json:
        """Put an object into the bucket that sends no events; return the record of its event."""
        etag = self.cloud.aws.s3.put_object(Bucket=API_ONLY_BUCKET, Key=key, Body=data)["ETag"]
        return record(API_ONLY_BUCKET, key, size=len(data), etag=etag.strip('"'))

    def put_queued(self, key: str, data: bytes) -> None:
        """Put an object into the deployment's bucket; its event waits in the queue."""
        self.cloud.aws.s3.put_object(Bucket=self.queued.bucket, Key=key, Body=data)

    def truncate_replica(self, name: str) -> None:
        """Replace an object in GCS by the first half of it, with the same metadata."""
        blob = self.cloud.google.bucket.get_blob(name)
        data = blob.download_as_bytes()
        copy = self.cloud.google.bucket.blob(name)
        copy.metadata = blob.metadata
        copy.upload_from_string(data[: len(data) // 2])

    def lose_events(self) -> None:
        """Delete the messages of the deployment's event queue."""
        self.cloud.aws.sqs.purge_queue(QueueUrl=self.queued.event_queue)

    def call_api(self, **body: str) -> tuple[int, Json]:
        """POST /v1/replicate; return the status and the body."""
        response = http.send("POST", f"{self.cloud.api.url}/v1/replicate", json=body)
        return response.status_code, response.json()

    @contextmanager
    def fault(self, **fault: object) -> Iterator[None]:
        """Apply a fault to the requests to GCS within the block; the fields are those of Fault."""
        self.cloud.google.add_fault(**fault, times=FOREVER)
        try:
            yield
        finally:
            self.cloud.google.clear_faults()

    def pairs(self, prefix: str = "") -> list[Pair]:
        """Download both sides."""
        buckets = (SOURCE, API_ONLY_BUCKET, VERSIONED, self.queued.bucket)
        return audit(self.cloud.aws.s3, buckets, self.cloud.google.bucket, prefix)

    def generation(self, name: str) -> int | None:
        """Return the replica's generation; None when there is no replica."""
        blob = self.cloud.google.bucket.get_blob(name)
        return int(blob.generation) if blob else None

    def gets(self, key: str) -> int:
        """Count the GETs of an object in the deployment's bucket so far: one for each part."""
        return self.cloud.aws.requests().count(f"GET /{self.queued.bucket}/{key}")

    def staged_bytes(self) -> int:
        """Return the size of all parts and slices that are staged now."""
        return sum(blob.size for blob in self.cloud.google.bucket.list_blobs(prefix=STAGING))

    def kill_a_worker(self) -> bool:
        """Kill the process of a runtime of the deployment that has work; say whether one had."""
        for runtime in self.queued.runtimes:
            if runtime.is_busy() and (process := runtime.process()):
                process.kill()
                return True
        return False

    def expect_equal(self, prefix: str, count: int = 1) -> None:
        """Check that both sides hold the same objects, and how many."""
        found = self.pairs(prefix)
        expect([pair for pair in found if not pair.equal], [], "objects that differ")
        expect(len(found), count, "objects")

    def expect_different(self, prefix: str, *names: str) -> None:
        """Check that exactly these objects differ."""
        different = [pair.name for pair in self.pairs(prefix) if not pair.equal]
        expect(different, list(names), "objects that differ")

    def expect_queues(self, *, waiting: int, failed: int) -> None:
        """Check how many events are in the deployment's two queues."""
        expect(self.queued.waiting(), waiting, "events in the event queue")
        expect(self.queued.failed(), failed, "events in the dead-letter queue")

    def _delivery_of(self, change: Callable[[], object]) -> Delivery:
        deliveries = self.cloud.service.deliveries
        before = len(deliveries)
        change()
        self.cloud.settle()
        expect(len(deliveries) - before, 1, "deliveries")
        return deliveries[-1]


def expect(found: object, expected: object, what: str) -> None:
    """Raise ExpectationError unless both are equal."""
    if found != expected:
        raise ExpectationError(f"{what}: {found!r} instead of {expected!r}")


def expect_results(delivery: Delivery, *reasons: str) -> tuple[Json, ...]:
    """Return the results, if these are their reasons; raise ExpectationError otherwise."""
    if delivery.error:
        raise ExpectationError(f"the function failed: {delivery.error}")
    expect(tuple(result["reason"] for result in delivery.results), reasons, "reasons")
    return delivery.results


def random_bytes(seed: str, size: int) -> bytes:
    """Return bytes that no compression shrinks, the same for each seed."""
    return Random(seed).randbytes(size)  # noqa: S311 - content of a test object
