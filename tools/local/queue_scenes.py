"""The demo's scenes with a queue: events in batches, a poison record, and redrive."""

import time

from tools.local.deployment import Batch
from tools.local.queue_stage import QueueStage
from tools.local.report import duration
from tools.local.stage import expect

BELOW = "queued/"
KEYS = [f"{BELOW}{number:02}.txt" for number in range(1, 11)]
"""As many as one batch holds."""

POISON = KEYS[3]
OVERWRITTEN, DELETED = KEYS[0], KEYS[-1]
CREATED = f"{BELOW}created-in-the-outage.txt"
KEPT = 4
"""These three, and the poison record."""

ATTEMPTS = 5
"""The template lets an event be received so often before it rests in the failure queue."""

AN_HOUR = {"Retry-After": "3600"}
"""Longer than an invocation lasts: the function leaves it to the queue at once."""


def through_the_queue(stage: QueueStage) -> str:
    """Uploads through a queue."""
    wiring = stage.stack.wiring
    wiring.drain()  # the test event that S3 sends at first; and the cold start
    for key in KEYS:
        stage.put(key, b"First " + key.encode())
    started = time.perf_counter()
    batches = wiring.drain()
    elapsed = duration(time.perf_counter() - started)
    expect(_sizes(batches), [len(KEYS)], "events by batch")
    stage.expect_queues(waiting=0, failed=0)
    stage.expect_equal(BELOW, len(KEYS))
    return f"S3 → SQS → function: {len(KEYS)} in one batch, {elapsed}"


def poison_record(stage: QueueStage) -> str:
    """A poison record in a batch."""
    with stage.spoiled(name=POISON, operation="objects.insert", status=403):
        for key in KEYS:
            stage.put(key, b"Second " + key.encode())
        batches = stage.stack.wiring.drain()
    expect(_sizes(batches), [len(KEYS), *[1] * (ATTEMPTS - 1)], "events by batch")
    expect(batches[0].failed_keys(), {POISON}, "what the batch reports as failed")
    stage.expect_queues(waiting=0, failed=1)
    stage.expect_differing(BELOW, POISON)
    return f"{len(KEYS) - 1} replicated, 1 kept as failed after {ATTEMPTS} attempts"


def outage_and_redrive(stage: QueueStage) -> str:
    """An outage of GCS, then redrive."""
    wiring = stage.stack.wiring
    with stage.spoiled(status=503, headers=AN_HOUR):
        stage.put(OVERWRITTEN, b"Third")
        stage.put(CREATED, b"While GCS was away.\n")
        stage.cloud.aws.s3.delete_object(Bucket=stage.stack.bucket, Key=DELETED)
        wiring.drain()
    stage.expect_queues(waiting=0, failed=KEPT)
    stage.expect_differing(BELOW, OVERWRITTEN, POISON, DELETED, CREATED)
    expect(wiring.redrive(), KEPT, "events run again")
    wiring.drain()
    stage.expect_queues(waiting=0, failed=0)
    stage.expect_equal(BELOW, len(KEYS))  # one more, and one less
    return f"{KEPT} events kept as failed, run again: nothing is lost"


def _sizes(batches: list[Batch]) -> list[int]:
    return [len(batch.event["Records"]) for batch in batches]


QUEUE_SCENES = (through_the_queue, poison_record, outage_and_redrive)
