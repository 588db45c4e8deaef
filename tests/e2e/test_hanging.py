"""What a GCS costs that accepts requests and never answers: the function in Lambda's own runtime.

tests/unit/test_hanging.py has 100 uploads a second, in modelled time: it holds the concurrency and
the GB-seconds. Here every wait is real, but for Lambda's and SQS's delays between attempts, so the
figures depend on the machine: `pytest --log-cli-level=INFO` shows them. Only one bound is asserted,
which is several times as large as what was measured.
"""

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate

from tools.local.cloud import LocalCloud
from tools.local.deployment import Deployment, deployed
from tools.local.large_objects import LargeObjects

RUNTIMES = 5
RATE = 2
"""Uploads per second. With the retries of the uploads before, that is 6 attempts per second."""
UPLOADS = 12
ATTEMPTS = 3
BATCHES = 2
"""The event queue's first deliveries of what failed: ten events each."""
MEMORY_GB = 1.0
WAIT_S = 0.8
"""Default of the function's GCS_FIRST_TIMEOUT_SECONDS."""
TIMEOUTS = 3
SHORTEST_OPEN_S = 10.0
LONGEST_WAIT_S = 5.0
"""Defaults of BreakerPolicy."""
SILENCE = {"stall": 60.0, "status": 503}
"""A request waits for longer than any client does. The server then forgets it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What invocations cost that began one after the other."""

    invocations: int
    peak: int
    """Invocations at a time."""
    gb_seconds: float
    """For each event, its three attempts together."""


def cost(spans: Sequence[tuple[float, float]], first: int = 0) -> Cost:
    """Return the cost of all invocations from this one on, in the order in which they began."""
    ordered = sorted(spans)
    counted = ordered[first:]
    running = [span for span in ordered if span[1] > counted[0][0]]
    steps = sorted([(began, 1) for began, _ in running] + [(ended, -1) for _, ended in running])
    billed_s = sum(ended - began for began, ended in counted)
    return Cost(
        invocations=len(counted),
        peak=max(accumulate(step for _, step in steps)),
        gb_seconds=round(billed_s * MEMORY_GB * ATTEMPTS / len(counted), 3),
    )


@contextmanager
def silence(cloud: LocalCloud) -> Iterator[None]:
    """Let GCS answer no request within the block."""
    cloud.google.add_fault(**SILENCE, times=None)
    try:
        yield
    finally:
        cloud.google.clear_faults()


def upload(deployment: Deployment, count: int) -> None:
    """Upload objects at a steady rate, and wait until Lambda's attempts have ended."""
    started = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, started + number / RATE - time.perf_counter()))
        key = uuid.uuid4().hex
        deployment.aws.s3.put_object(Bucket=deployment.bucket, Key=key, Body=key.encode())
    deployment.settle()


def test_a_gcs_that_never_answers_takes_few_invocations_and_every_event_arrives_after_it(
    cloud: LocalCloud,
) -> None:
    """At first each runtime waits for three timeouts; then their breakers let events fail at once.

    The first redelivery comes a minute later in AWS, and breakers stay open for 40 seconds at most.
    Here it comes after a second, so Lambda replaces the runtimes before.
    """
    bucket = f"hanging-{uuid.uuid4().hex[:12]}"
    as_in_aws = {"GCS_FIRST_TIMEOUT_SECONDS": str(WAIT_S)}
    as_deployed = replace(cloud, function_environment=cloud.function_environment | as_in_aws)
    options = {"Delivery": "direct", "GcsKeyPrefix": f"{bucket}/"}
    with deployed(as_deployed, bucket, LargeObjects(runtimes=RUNTIMES), **options) as deployment:
        service = deployment.service
        upload(deployment, RUNTIMES)  # an event for each: all are warm, with a token
        service.deliveries.clear()
        service.spans.clear()
        with silence(cloud):
            began = time.perf_counter()
            upload(deployment, UPLOADS)
            silent_s = time.perf_counter() - began
            spans = service.spans.copy()
            for _ in range(BATCHES):
                deployment.mapping.poll()
        whole, later = cost(spans), cost(spans, 2 * UPLOADS)
        errors = [error.message for each in service.deliveries for error in each.errors]
        asked = [error for error in errors if "it is not asked" not in error]
        logging.getLogger(__name__).info(
            "%s, the last third %s; %d asked GCS", whole, later, len(asked)
        )
        assert len(errors) == whole.invocations == UPLOADS * ATTEMPTS
        probes = silent_s // SHORTEST_OPEN_S  # a loaded machine takes longer, and may send more
        assert len(asked) <= (TIMEOUTS + probes) * RUNTIMES, "the others failed without asking"
        billed_s = sum(ended - began for began, ended in spans)
        assert billed_s < len(asked) * LONGEST_WAIT_S, "most requests waited for 0.8 seconds"
        assert deployment.failed() == 0
        with ThreadPoolExecutor() as executor:
            list(executor.map(lambda runtime: runtime.restart(), deployment.runtimes))
        deployment.mapping.finish()
        blobs = cloud.google.bucket.list_blobs(prefix=f"{bucket}/")
        replicas = {
            blob.name.removeprefix(f"{bucket}/"): blob.download_as_bytes() for blob in blobs
        }
        assert len(replicas) == RUNTIMES + UPLOADS
        assert all(data == key.encode() for key, data in replicas.items())
        assert (deployment.waiting(), deployment.failed()) == (0, 0), "nothing was redriven"
