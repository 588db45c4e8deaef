"""The scenes of `make demo`: each does one thing to S3 and says in a line what came of it."""

import io
import os
from collections.abc import Callable

from boto3.s3.transfer import TransferConfig

from tools.local.cloud import SILENT, SOURCE
from tools.local.notifications import notification
from tools.local.report import duration, size
from tools.local.stage import Stage, SurpriseError, expect, results

MIB = 1024 * 1024

FIRST = "hello.txt"
LARGE = "64-MiB.bin"
MULTIPART = "24-MiB-in-3-parts.bin"
CUT_OFF = "16-MiB-cut-off.bin"
CORRUPTED = "corrupted-on-the-way.bin"
ASKED_FOR = "asked-for.txt"
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


def first_upload(stage: Stage) -> str:
    """An upload replicates by itself."""
    delivery = stage.upload(
        FIRST, b"Hello, world!\n", ContentType="text/plain", Metadata={"author": "demo"}
    )
    results(delivery, "created")
    stage.first_event = delivery.event
    return f"{FIRST} created in {duration(delivery.elapsed_s)}, Lambda's cold start included"


def odd_names(stage: Stage) -> str:
    """Empty objects and odd names."""
    for name in ODD_NAMES:
        data = b"" if name == "empty" or name.endswith("/") else name.encode()
        results(stage.upload(name, data), "created")
    return f"{len(ODD_NAMES)} objects: + % spaces unicode // .. and a trailing slash"


def large(stage: Stage) -> str:
    """A large object, streamed."""
    delivery = stage.upload(LARGE, os.urandom(64 * MIB))
    (result,) = results(delivery, "created")
    rate = 64 / (result["elapsed_ms"] / 1000)
    peak = stage.cloud.function.peak_rss_bytes()
    return f"64 MiB at {rate:.0f} MiB/s; the process held {size(peak)} at most"


def multipart(stage: Stage) -> str:
    """A multipart upload."""
    stage.cloud.aws.s3.upload_fileobj(
        io.BytesIO(os.urandom(24 * MIB)),
        SOURCE,
        MULTIPART,
        Config=TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB),
    )
    (result,) = results(stage.delivered(), "created")
    return f"24 MiB; source {result['verified_by']['source']}"


def duplicate(stage: Stage) -> str:
    """The same event once more."""
    (result,) = results(stage.cloud.invoker.deliver(stage.first_event), "current")
    expect(result["bytes_copied"], 0, "bytes copied")
    return "skipped: the replica is current, no byte moved"


def overwrite(stage: Stage) -> str:
    """An overwrite, then a late event."""
    before = stage.generation(FIRST)
    results(stage.upload(FIRST, b"Hello again!\n", ContentType="text/plain"), "overwritten")
    after = stage.generation(FIRST)
    if before == after:
        raise SurpriseError(f"generation {after} before and after")
    results(stage.cloud.invoker.deliver(stage.first_event), "current")
    expect(stage.generation(FIRST), after, "generation after the late event")
    return "overwritten; the first version's event changed nothing"


def metadata_only(stage: Stage) -> str:
    """A change of metadata alone."""
    before = stage.generation(FIRST)
    stage.cloud.aws.s3.copy_object(
        Bucket=SOURCE,
        Key=FIRST,
        CopySource={"Bucket": SOURCE, "Key": FIRST},
        MetadataDirective="REPLACE",
        ContentType="text/plain; charset=utf-8",
        Metadata={"author": "somebody else"},
    )
    (result,) = results(stage.delivered(), "metadata_updated")
    expect(result["bytes_copied"], 0, "bytes copied")
    expect(stage.generation(FIRST), before, "generation")
    return "metadata updated in place, no byte moved"


def several_records(stage: Stage) -> str:
    """Three changes in one event."""
    records = [stage.record_of_silent(f"batch/{n}.txt", b"%d" % n) for n in (1, 2, 3)]
    results(stage.cloud.invoker.deliver(notification(*records)), *["created"] * 3)
    return "three objects created"


def api(stage: Stage) -> str:
    """The API: POST /v1/replicate."""
    stage.record_of_silent(ASKED_FOR, b"Please.\n")
    statuses = [stage.call(s3_bucket=SILENT, s3_key=ASKED_FOR)[0] for _ in range(2)]
    missing, answer = stage.call(s3_bucket=SILENT, s3_key="no such key")
    expect([*statuses, missing], [201, 200, 404], "statuses")
    return f"201 created, 200 current, 404 {answer['error']['code']}"


def cut_off(stage: Stage) -> str:
    """A connection that breaks mid-upload."""
    stage.cloud.google.add_fault(name=CUT_OFF, method="PUT", cut_after=5 * MIB)
    results(stage.upload(CUT_OFF, os.urandom(16 * MIB)), "created")
    sent = sum(r["body_bytes"] for r in stage.cloud.google.requests() if r["name"] == CUT_OFF)
    return f"resumed where it broke: {size(sent)} sent for 16 MiB"


def corrupted(stage: Stage) -> str:
    """A transfer corrupted on the way."""
    stage.cloud.google.add_fault(name=CORRUPTED, corrupt=True, times=1000)
    delivery = stage.upload(CORRUPTED, os.urandom(12 * MIB))
    if not delivery.error:
        raise SurpriseError("a corrupted transfer was accepted")
    expect(stage.generation(CORRUPTED), None, "replica of a corrupted transfer")
    return f"refused in {delivery.attempts} attempts, never visible; the event is kept"


def healed(stage: Stage) -> str:
    """The kept event, delivered again."""
    stage.cloud.google.clear_faults()
    deliveries = stage.cloud.invoker.redrive()
    expect(len(deliveries), 1, "events kept")
    results(deliveries[0], "created")
    return f"{CORRUPTED} created"


def delete(stage: Stage) -> str:
    """A delete."""
    results(stage.upload(DELETED, b"Not for long.\n"), "created")
    stage.cloud.aws.s3.delete_object(Bucket=SOURCE, Key=DELETED)
    results(stage.delivered(), "deleted")
    expect(stage.generation(DELETED), None, "replica of a deleted object")
    return "the replica is deleted, too (REPLICATE_DELETES=true)"


def requests(stage: Stage) -> str:
    """The requests for one small new object."""
    event = notification(stage.record_of_silent(COUNTED, b"How many requests?\n"))
    s3_before, gcs_before = len(stage.cloud.aws.requests()), len(stage.cloud.google.requests())
    results(stage.cloud.invoker.deliver(event), "created")
    s3 = [r.split()[0] for r in stage.cloud.aws.requests()[s3_before:] if COUNTED in r]
    gcs = [r["operation"] for r in stage.cloud.google.requests()[gcs_before:]]
    return f"S3: {', '.join(s3)}; GCS: {', '.join(gcs)}"


SCENES: tuple[Callable[[Stage], str], ...] = (
    first_upload,
    odd_names,
    large,
    multipart,
    duplicate,
    overwrite,
    metadata_only,
    several_records,
    api,
    cut_off,
    corrupted,
    healed,
    delete,
    requests,
)
