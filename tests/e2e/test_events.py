"""Events come twice, late, together and in any order: both sides end equal all the same."""

import threading
from contextlib import closing

import pytest

from tools.local.cloud import VERSIONED
from tools.local.notifications import notification, record
from tools.local.runtime import FunctionError
from tools.local.stage import Stage, results


def test_a_duplicate_is_skipped(stage: Stage, prefix: str) -> None:
    event = notification(stage.record_of_silent(f"{prefix}a", b"bytes"))
    results(stage.cloud.invoker.deliver(event), "created")
    (result,) = results(stage.cloud.invoker.deliver(event), "current")
    assert (result["status"], result["bytes_copied"]) == ("skipped", 0)
    stage.expect_equal(prefix)


def test_events_in_the_wrong_order_end_with_the_last_version(stage: Stage, prefix: str) -> None:
    first = notification(stage.record_of_silent(f"{prefix}a", b"first"))
    second = notification(stage.record_of_silent(f"{prefix}a", b"second"))
    results(stage.cloud.invoker.deliver(second), "created")
    results(stage.cloud.invoker.deliver(first), "current")
    stage.expect_equal(prefix)


def test_several_records_in_one_event_are_all_carried_out(stage: Stage, prefix: str) -> None:
    records = [stage.record_of_silent(f"{prefix}{n}", b"%d" % n) for n in range(5)]
    results(stage.cloud.invoker.deliver(notification(*records)), *["created"] * 5)
    stage.expect_equal(prefix, 5)


def test_one_bad_record_fails_the_event_and_the_others_are_carried_out(
    stage: Stage, prefix: str
) -> None:
    good = stage.record_of_silent(f"{prefix}good", b"good")
    bad = record("no-such-bucket", f"{prefix}bad")
    with pytest.raises(FunctionError, match="source_bucket_not_found") as caught:
        stage.cloud.function.invoke(notification(bad, good))
    assert caught.value.error_type == "BatchFailedError"
    assert [pair.name for pair in stage.pairs(prefix) if pair.equal] == [f"{prefix}good"]


def test_an_event_without_changes_is_acknowledged(stage: Stage) -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "source"}
    assert stage.cloud.function.invoke(event) == {"results": []}


def test_a_payload_that_is_no_event_is_refused(stage: Stage) -> None:
    with pytest.raises(FunctionError) as caught:
        stage.cloud.function.invoke({"detail-type": "Object Created"})
    assert caught.value.error_type == "InvalidEventError"


def test_versions_replicate_and_a_delete_marker_deletes(stage: Stage, prefix: str) -> None:
    s3, key = stage.cloud.aws.s3, f"{prefix}a"
    version = s3.put_object(Bucket=VERSIONED, Key=key, Body=b"bytes")["VersionId"]
    created = notification(record(VERSIONED, key, size=5, version_id=version))
    (result,) = results(stage.cloud.invoker.deliver(created), "created")
    assert result["source"]["version_id"] == version
    stage.expect_equal(prefix)
    marker = s3.delete_object(Bucket=VERSIONED, Key=key)["VersionId"]
    deleted = notification(
        record(VERSIONED, key, event="ObjectRemoved:DeleteMarkerCreated", version_id=marker)
    )
    results(stage.cloud.invoker.deliver(deleted), "deleted")
    assert stage.pairs(prefix) == []


def test_two_functions_at_once_on_one_key_end_equal(stage: Stage, prefix: str) -> None:
    """Each overwrite is delivered to both, at the same time, while the next one comes in."""
    with closing(stage.cloud.another_function("rival")) as rival:
        threads = []
        for n in range(10):
            event = notification(stage.record_of_silent(f"{prefix}a", b"%d" % n * 1000))
            for function in (stage.cloud.function, rival):
                threads.append(threading.Thread(target=function.invoke, args=[event]))
                threads[-1].start()
        for thread in threads:
            thread.join()
    stage.expect_equal(prefix)
