"""The steps of `make demo`. Each does one thing and returns what happened, in one line.

The first line of its docstring is the step's title.
"""

import time
from collections.abc import Callable

from tools.common.kinds import JSON_LOG
from tools.common.sizes import MIB
from tools.common.tables import duration, size
from tools.local import demo_reconcile, output
from tools.local.cloud import API_ONLY_BUCKET
from tools.local.demo_context import (
    DemoContext,
    ExpectationError,
    expect,
    expect_results,
    random_bytes,
)
from tools.local.event_source_mapping import Batch
from tools.local.notifications import notification

FIRST = "hello.txt"
STREAMED = "64-MiB.bin"
LOG = "8-MiB-log.json"
MULTIPART = "24-MiB-in-3-parts.bin"
INTERRUPTED = "16-MiB-interrupted.bin"
CORRUPTED = "corrupted-in-transit.bin"
REQUESTED = "requested.txt"
COUNTED = "counted.txt"
DELETED = "deleted-later.txt"
ODD_NAMES = (
    "empty",
    "spaces and + signs",
    "100%",
    "encoded%20already%2F",
    "ünïcödé/文件/🎉",
    "folder/",
    "double//slash/../dots",
    "quotes ' \" & <tag> ? #",
)

IN_SLICES = "256-MiB-in-4-slices.bin"
PARTS = 16
PARTS_OF_A_WORKER = 4
POLL_S = 0.2

QUEUED = "queued/"
QUEUED_KEYS = [f"{QUEUED}{number:02}.txt" for number in range(1, 11)]
"""As many as the template's batch size."""

POISON = QUEUED_KEYS[3]
OVERWRITTEN, DELETED_IN_OUTAGE = QUEUED_KEYS[0], QUEUED_KEYS[-1]
CREATED_IN_OUTAGE = f"{QUEUED}created-in-the-outage.txt"

AN_HOUR = {"Retry-After": "3600"}
"""Longer than an invocation: the function fails at once, and the queue retries."""


def first_upload(demo: DemoContext) -> str:
    """An upload replicates by itself."""
    delivery = demo.upload(
        FIRST, b"Hello, world!\n", ContentType="text/plain", Metadata={"author": "demo"}
    )
    expect_results(delivery, "created")
    demo.first_event = delivery.event
    return f"{FIRST} created in {duration(delivery.elapsed_s)}, with Lambda's cold start"


def odd_names(demo: DemoContext) -> str:
    """Empty objects and odd names."""
    for name in ODD_NAMES:
        data = b"" if name == "empty" or name.endswith("/") else name.encode()
        expect_results(demo.upload(name, data), "created")
    return f"{len(ODD_NAMES)} objects: + % spaces unicode // .. and a trailing slash"


def streamed_object(demo: DemoContext) -> str:
    """An object of 64 MiB, in one stream."""
    (result,) = expect_results(demo.upload(STREAMED, random_bytes(STREAMED, 64 * MIB)), "created")
    rate = 64 / (result["elapsed_ms"] / 1000)
    peak = demo.cloud.function.peak_rss_bytes()
    return f"64 MiB at {rate:.0f} MiB/s; peak memory of the process {size(peak)}"


def compressed_log(demo: DemoContext) -> str:
    """A JSON log, compressed on its way."""
    data = JSON_LOG.block() * 8
    delivery = demo.upload(LOG, data, ContentType=JSON_LOG.content_type)
    (result,) = expect_results(delivery, "created")
    copied, sent = result["bytes_copied"], result["bytes_sent"]
    expect(sent < copied / 4, expected=True, what="less than a quarter sent")
    return f"{size(copied)} copied, {size(sent)} sent: {1 - sent / copied:.0%} of the egress saved"


def multipart_upload(demo: DemoContext) -> str:
    """A multipart upload."""
    delivery = demo.upload_in_parts(MULTIPART, random_bytes(MULTIPART, 24 * MIB), 8 * MIB)
    (result,) = expect_results(delivery, "created")
    return f"24 MiB; source {result['verified_by']['source']}"


def duplicate_event(demo: DemoContext) -> str:
    """The same event again."""
    (result,) = expect_results(demo.deliver(demo.first_event), "current")
    expect(result["bytes_copied"], 0, "bytes copied")
    return "skipped: the replica is current, no bytes copied"


def overwrite(demo: DemoContext) -> str:
    """An overwrite, then a late event."""
    before = demo.generation(FIRST)
    overwritten = demo.upload(FIRST, b"Hello again!\n", ContentType="text/plain")
    expect_results(overwritten, "overwritten")
    after = demo.generation(FIRST)
    if before == after:
        raise ExpectationError(f"generation {after} before and after")
    expect_results(demo.deliver(demo.first_event), "current")
    expect(demo.generation(FIRST), after, "generation after the late event")
    return "overwritten; the first version's event changed nothing"


def metadata_only(demo: DemoContext) -> str:
    """A change of metadata alone."""
    before = demo.generation(FIRST)
    metadata = {"author": "somebody else"}
    delivery = demo.replace_metadata(FIRST, "text/plain; charset=utf-8", metadata)
    (result,) = expect_results(delivery, "metadata_updated")
    expect(result["bytes_copied"], 0, "bytes copied")
    expect(demo.generation(FIRST), before, "generation")
    return "metadata updated in place, no bytes copied"


def several_records(demo: DemoContext) -> str:
    """Three changes in one event."""
    records = [demo.put_without_event(f"batch/{n}.txt", b"%d" % n) for n in (1, 2, 3)]
    expect_results(demo.deliver(notification(*records)), *["created"] * 3)
    return "three objects created"


def api_request(demo: DemoContext) -> str:
    """The API: POST /v1/replicate."""
    demo.put_without_event(REQUESTED, b"Please.\n")
    statuses = [demo.call_api(s3_bucket=API_ONLY_BUCKET, s3_key=REQUESTED)[0] for _ in range(2)]
    missing, body = demo.call_api(s3_bucket=API_ONLY_BUCKET, s3_key="no such key")
    expect([*statuses, missing], [201, 200, 404], "statuses")
    return f"201 created, 200 current, 404 {body['error']['code']}"


def interrupted_upload(demo: DemoContext) -> str:
    """An upload whose connection breaks."""
    demo.cloud.google.add_fault(name=INTERRUPTED, method="PUT", cut_after=5 * MIB)
    expect_results(demo.upload(INTERRUPTED, random_bytes(INTERRUPTED, 16 * MIB)), "created")
    sent = sum(r["body_bytes"] for r in demo.cloud.google.requests() if r["name"] == INTERRUPTED)
    return f"resumed where it broke: {size(sent)} sent for 16 MiB"


def corrupted_transfer(demo: DemoContext) -> str:
    """A transfer corrupted in transit."""
    with demo.fault(name=CORRUPTED, corrupt=True):
        delivery = demo.upload(CORRUPTED, random_bytes(CORRUPTED, 12 * MIB))
    if not delivery.error:
        raise ExpectationError("a corrupted transfer was accepted")
    expect(demo.generation(CORRUPTED), None, "replica of a corrupted transfer")
    return f"refused in {delivery.attempts} attempts, never visible; the event is stored"


def redelivery(demo: DemoContext) -> str:
    """The stored event, delivered again."""
    deliveries = demo.redrive()
    expect(len(deliveries), 1, "stored events")
    expect_results(deliveries[0], "created")
    return f"{CORRUPTED} created"


def delete(demo: DemoContext) -> str:
    """A delete."""
    expect_results(demo.upload(DELETED, b"Not for long.\n"), "created")
    expect_results(demo.delete(DELETED), "deleted")
    expect(demo.generation(DELETED), None, "replica of a deleted object")
    return "the replica is deleted, too (REPLICATE_DELETES=true)"


def request_count(demo: DemoContext) -> str:
    """The requests for one small new object."""
    event = notification(demo.put_without_event(COUNTED, b"How many requests?\n"))
    aws, google = demo.cloud.aws, demo.cloud.google
    s3_before, gcs_before = len(aws.requests()), len(google.requests())
    expect_results(demo.deliver(event), "created")
    s3 = [r.split()[0] for r in aws.requests()[s3_before:] if COUNTED in r]
    gcs = [r["operation"] for r in google.requests()[gcs_before:]]
    return f"S3: {', '.join(s3)}; GCS: {', '.join(gcs)}"


def queued_uploads(demo: DemoContext) -> str:
    """Uploads through a queue."""
    demo.queued.mapping.drain()  # the test event that S3 sends first; and the cold start
    for key in QUEUED_KEYS:
        demo.put_queued(key, b"First " + key.encode())
    started = time.perf_counter()
    batches = demo.queued.mapping.drain()
    elapsed = duration(time.perf_counter() - started)
    expect(_sizes(batches), [len(QUEUED_KEYS)], "events by batch")
    demo.expect_queues(waiting=0, failed=0)
    demo.expect_equal(QUEUED, len(QUEUED_KEYS))
    return f"S3 → SQS → function: {len(QUEUED_KEYS)} in one batch, {elapsed}"


def poison_record(demo: DemoContext) -> str:
    """A poison record in a batch."""
    with demo.fault(name=POISON, operation="objects.insert", status=403):
        for key in QUEUED_KEYS:
            demo.put_queued(key, b"Second " + key.encode())
        batches = demo.queued.mapping.drain()
    expect(_sizes(batches), [len(QUEUED_KEYS)], "events by batch")
    demo.expect_queues(waiting=0, failed=1)
    demo.expect_different(QUEUED, POISON)
    expect(demo.queued.redrive(), 1, "redriven events")  # GCS accepts it now
    demo.queued.mapping.finish()
    demo.expect_equal(QUEUED, len(QUEUED_KEYS))
    return f"{len(QUEUED_KEYS) - 1} replicated, 1 kept with its reason; then redriven"


def outage(demo: DemoContext) -> str:
    """An outage of GCS."""
    changed = (OVERWRITTEN, DELETED_IN_OUTAGE, CREATED_IN_OUTAGE)
    with demo.fault(status=503, headers=AN_HOUR):
        demo.put_queued(OVERWRITTEN, b"Third")
        demo.put_queued(CREATED_IN_OUTAGE, b"While GCS was away.\n")
        demo.cloud.aws.s3.delete_object(Bucket=demo.queued.bucket, Key=DELETED_IN_OUTAGE)
        demo.queued.mapping.drain()
    demo.expect_queues(waiting=len(changed), failed=0)
    demo.expect_different(QUEUED, *changed)
    started = time.perf_counter()
    demo.queued.mapping.finish()
    elapsed = duration(time.perf_counter() - started)
    demo.expect_queues(waiting=0, failed=0)
    demo.expect_equal(QUEUED, len(QUEUED_KEYS))  # one more, and one less
    return f"{len(changed)} events wait; equal {elapsed} after it, without a redrive"


def large_object(demo: DemoContext) -> str:
    """A large object, by a state machine."""
    before = demo.gets(IN_SLICES)
    slices = (random_bytes(f"{IN_SLICES}/{number}", 32 * MIB) for number in range(8))
    demo.put_queued(IN_SLICES, b"".join(slices))
    demo.queued.mapping.drain()
    done, is_killed = 0, False
    with output.progress_bar(demo.console, IN_SLICES, 256 * MIB) as show:
        while demo.queued.waiting():
            done = max(done, demo.staged_bytes())
            show(done)
            if not is_killed and done >= 32 * MIB:
                is_killed = demo.kill_a_worker()
            demo.queued.mapping.poll()
            time.sleep(POLL_S)
    # One more is the event's own GET. Its body is closed unread, so the log may not have it.
    more = demo.gets(IN_SLICES) - before - PARTS
    again = max(0, more - 1)
    if not is_killed or more < 0 or again > PARTS_OF_A_WORKER:
        raise ExpectationError(f"killed: {is_killed}; GETs beside those of the parts: {more}")
    demo.expect_queues(waiting=0, failed=0)
    expect(demo.staged_bytes(), 0, "bytes that are still staged")
    demo.expect_equal(IN_SLICES)
    workers = len(demo.queued.runtimes)
    return f"256 MiB, {workers} workers, 1 killed: {again} of {PARTS} parts sent again"


def _sizes(batches: list[Batch]) -> list[int]:
    return [len(batch.event["Records"]) for batch in batches]


STEPS: tuple[Callable[[DemoContext], str], ...] = (
    first_upload,
    odd_names,
    streamed_object,
    compressed_log,
    multipart_upload,
    duplicate_event,
    overwrite,
    metadata_only,
    several_records,
    api_request,
    interrupted_upload,
    corrupted_transfer,
    redelivery,
    delete,
    request_count,
    queued_uploads,
    poison_record,
    outage,
    large_object,
    *demo_reconcile.STEPS,
)
