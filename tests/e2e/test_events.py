"""Both sides end equal when events are duplicated, late, grouped or out of order."""

import threading
from contextlib import closing

import pytest

from tools.local.cloud import VERSIONED
from tools.local.demo_context import DemoContext, expect_results
from tools.local.notifications import notification, record
from tools.local.runtime import FunctionError


def test_a_duplicate_is_skipped(demo: DemoContext, prefix: str) -> None:
    event = notification(demo.put_without_event(f"{prefix}a", b"bytes"))
    expect_results(demo.deliver(event), "created")
    (result,) = expect_results(demo.deliver(event), "current")
    assert (result["status"], result["bytes_copied"]) == ("skipped", 0)
    demo.expect_equal(prefix)


def test_events_in_the_wrong_order_end_with_the_last_version(
    demo: DemoContext, prefix: str
) -> None:
    first = notification(demo.put_without_event(f"{prefix}a", b"first"))
    second = notification(demo.put_without_event(f"{prefix}a", b"second"))
    expect_results(demo.deliver(second), "created")
    expect_results(demo.deliver(first), "current")
    demo.expect_equal(prefix)


def test_every_record_of_an_event_is_replicated(demo: DemoContext, prefix: str) -> None:
    records = [demo.put_without_event(f"{prefix}{n}", b"%d" % n) for n in range(5)]
    expect_results(demo.deliver(notification(*records)), *["created"] * 5)
    demo.expect_equal(prefix, 5)


def test_a_failing_record_fails_the_event_and_the_other_records_are_replicated(
    demo: DemoContext, prefix: str
) -> None:
    good = demo.put_without_event(f"{prefix}good", b"good")
    bad = record("no-such-bucket", f"{prefix}bad")
    with pytest.raises(FunctionError, match="source_not_allowed") as caught:
        demo.cloud.function.invoke(notification(bad, good))
    assert caught.value.error_type == "BatchFailedError"
    assert [pair.name for pair in demo.pairs(prefix) if pair.equal] == [f"{prefix}good"]


def test_s3s_test_event_succeeds_without_results(demo: DemoContext) -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "source"}
    assert demo.cloud.function.invoke(event) == {"results": []}


def test_an_unknown_payload_is_an_invalid_event(demo: DemoContext) -> None:
    with pytest.raises(FunctionError) as caught:
        demo.cloud.function.invoke({"detail-type": "Object Created"})
    assert caught.value.error_type == "InvalidEventError"


def test_a_version_replicates_and_a_delete_marker_deletes_the_replica(
    demo: DemoContext, prefix: str
) -> None:
    s3, key = demo.cloud.aws.s3, f"{prefix}a"
    version = s3.put_object(Bucket=VERSIONED, Key=key, Body=b"bytes")["VersionId"]
    created = notification(record(VERSIONED, key, size=5, version_id=version))
    (result,) = expect_results(demo.deliver(created), "created")
    assert result["source"]["version_id"] == version
    demo.expect_equal(prefix)
    marker = s3.delete_object(Bucket=VERSIONED, Key=key)["VersionId"]
    deleted = notification(
        record(VERSIONED, key, event="ObjectRemoved:DeleteMarkerCreated", version_id=marker)
    )
    expect_results(demo.deliver(deleted), "deleted")
    assert demo.pairs(prefix) == []


def test_two_functions_that_work_on_one_key_at_once_end_equal(
    demo: DemoContext, prefix: str
) -> None:
    """Each overwrite goes to both functions at once, while the next overwrite is made."""
    with closing(demo.cloud.another_function("rival")) as rival:
        threads = []
        for n in range(10):
            event = notification(demo.put_without_event(f"{prefix}a", b"%d" % n * 1000))
            for function in (demo.cloud.function, rival):
                threads.append(threading.Thread(target=function.invoke, args=[event]))
                threads[-1].start()
        for thread in threads:
            thread.join()
    demo.expect_equal(prefix)
