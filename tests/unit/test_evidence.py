"""Replicas are deleted on evidence only: the whole function over two stores in memory.

Each case of the table is a delivery for a key that a lifecycle rule expired, and whose replica is
the only copy left.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from executions import FakeExecutions
from fakes import FakeS3
from memory import Context, MemoryStores, sample_event

from replicate.handler import Function
from replicate.protocol.evidence import (
    HINT,
    OWN_WRITE,
    REQUEST,
    Deletes,
    Evidence,
    EvidenceKind,
    user_deletion,
)
from replicate.protocol.model import SourceRef
from replicate.protocol.ports import Running

REF = SourceRef("my-source-bucket", "archive/2019.csv")
BY_USERS = {"REPLICATE_DELETES": "true", "REPLICATE_LIFECYCLE_DELETES": "false"}
ALL = {"REPLICATE_DELETES": "true", "REPLICATE_LIFECYCLE_DELETES": "true"}
NONE = {"REPLICATE_DELETES": "false", "REPLICATE_LIFECYCLE_DELETES": "true"}
LATER = "2026-06-01T00:00:00.000Z"

Event = dict[str, Any]


def expired(environ: dict[str, str]) -> MemoryStores:
    """Return the stores after an object was replicated, and then expired."""
    stores = MemoryStores(
        environ=environ | {"SOURCE_BUCKETS": REF.bucket}, executions=FakeExecutions()
    )
    stores.s3.put(REF, b"the only copy")
    stores.function().handle(notification("ObjectCreated:Put"), Context())
    stores.s3.delete(REF)
    return stores


def notification(*names: str, time: str = LATER) -> Event:
    (record,) = sample_event("s3-put")["Records"]
    s3 = {"bucket": {"name": REF.bucket}, "object": {"key": REF.key, "size": 13}}
    return {"Records": [record | {"eventName": n, "eventTime": time, "s3": s3} for n in names]}


def in_queue(*bodies: Event) -> Event:
    records = [
        {"eventSource": "aws:sqs", "messageId": str(number), "body": json.dumps(body)}
        for number, body in enumerate(bodies)
    ]
    return {"Records": records}


def api_request() -> Event:
    body = json.dumps({"s3_bucket": REF.bucket, "s3_key": REF.key})
    return sample_event("api-v2") | {"body": body, "isBase64Encoded": False}


def batch_task() -> Event:
    sample = sample_event("batch-operations-2.0")
    task = {"taskId": "t", "s3Bucket": REF.bucket, "s3Key": REF.key, "s3VersionId": None}
    return sample | {"tasks": [task]}


def watch() -> Event:
    return {"executionWatch": {"bucket": REF.bucket, "key": REF.key, "execution": "ended"}}


def nomination() -> Event:
    return {"nomination": {"bucket": REF.bucket, "key": REF.key}}


def redriven(event: Event) -> Event:
    """Return what Lambda's failure destination keeps, as the event queue delivers it again."""
    return in_queue({"requestPayload": event, "responsePayload": {"errorMessage": "failed"}})


EXPIRATION = notification("LifecycleExpiration:Delete")
CREATION = notification("ObjectCreated:Put", time="2026-01-01T00:00:01.000Z")

DELIVERIES: dict[str, Event] = {
    "the lifecycle rule's event": EXPIRATION,
    "an API request": api_request(),
    "a task of a batch job with an old manifest": batch_task(),
    "a late creation": CREATION,
    "a redriven creation": redriven(CREATION),
    "a batch with the creation and the expiration": in_queue(CREATION, EXPIRATION),
    "a message that waited for an execution": in_queue(watch()),
    "a nomination by the reconcile": in_queue(nomination()),
    "other tags": notification("ObjectTagging:Put"),
}


def handle(function: Function, event: Event) -> Event:
    return function.handle(event, Context())


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_replica_of_an_expired_object_stays_whatever_is_delivered(delivery: str) -> None:
    stores = expired(BY_USERS)
    handle(stores.function(), DELIVERIES[delivery])
    assert stores.gcs.objects[REF.key].data == b"the only copy"


@pytest.mark.parametrize("environ", [BY_USERS, ALL], ids=["by users", "all"])
def test_deletion_by_a_user_deletes_the_replica_alone_and_among_others(
    environ: dict[str, str],
) -> None:
    deletion = notification("ObjectRemoved:Delete")
    for event in (deletion, redriven(deletion), in_queue(EXPIRATION, deletion, CREATION)):
        stores = expired(environ)
        handle(stores.function(), event)
        assert REF.key not in stores.gcs.objects


def test_deletion_by_a_user_proves_nothing_about_a_later_version() -> None:
    """A user deleted an older version; the one in GCS was uploaded later, and has expired."""
    stores = expired(BY_USERS)
    late = notification("ObjectRemoved:Delete", time="2025-12-31T23:59:59.000Z")
    handle(stores.function(), redriven(late))
    assert REF.key in stores.gcs.objects


@pytest.mark.parametrize("is_current", [False, True], ids=["expired", "current"])
def test_permanent_deletion_of_an_older_version_deletes_the_replica_of_a_key_that_is_gone(
    *, is_current: bool
) -> None:
    """S3's event of a deletion does not say whether the key has other versions."""
    stores = MemoryStores(environ=BY_USERS, s3=FakeS3(versioned=True))
    for data in (b"older", b"newer"):
        stores.s3.put(REF, data)
    handle(stores.function(), CREATION)
    if not is_current:
        stores.s3.delete(REF)  # the marker of a lifecycle rule
    deletion = notification("ObjectRemoved:Delete")
    deletion["Records"][0]["s3"]["object"]["versionId"] = "version-1"
    handle(stores.function(), deletion)
    assert (REF.key in stores.gcs.objects) is is_current


def test_deletion_in_the_second_of_the_upload_is_of_that_version() -> None:
    second = datetime(2026, 1, 1, tzinfo=UTC)
    evidence = user_deletion(second)
    assert evidence.permits_deletion(Deletes.BY_USERS, second)
    assert not evidence.permits_deletion(Deletes.BY_USERS, second + timedelta(seconds=1))


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_any_event_but_no_request_deletes_where_all_deletions_are_replicated(delivery: str) -> None:
    stores = expired(ALL)
    handle(stores.function(), DELIVERIES[delivery])
    is_request = delivery in {"an API request", "a task of a batch job with an old manifest"}
    assert (REF.key in stores.gcs.objects) is is_request


def test_nothing_is_deleted_where_deletions_are_not_replicated() -> None:
    for event in (*DELIVERIES.values(), notification("ObjectRemoved:Delete")):
        stores = expired(NONE)
        handle(stores.function(), event)
        assert REF.key in stores.gcs.objects


@pytest.mark.parametrize("environ", [NONE, BY_USERS, ALL], ids=["none", "by users", "all"])
def test_request_for_a_source_that_is_gone_is_told_so(environ: dict[str, str]) -> None:
    function = expired(environ).function()
    answer = handle(function, api_request())
    assert answer["statusCode"] == 404
    assert json.loads(answer["body"])["error"]["code"] == "object_not_found"
    (task,) = handle(function, batch_task())["results"]
    assert task["resultString"].startswith("skipped: source_gone")


def test_message_keeps_waiting_while_its_execution_runs() -> None:
    stores = expired(BY_USERS)
    assert stores.executions
    stores.executions.states["ended"] = Running()
    handle(stores.function(), in_queue(watch()))
    assert stores.executions.watches


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("evidence", [REQUEST, HINT, user_deletion(NOON)])
def test_evidence_can_be_carried_as_text(evidence: Evidence) -> None:
    assert Evidence.parse(str(evidence)) == evidence


@pytest.mark.parametrize("text", ["", "own_write", "user_deletion", "hint 2026-06-01", "x"])
def test_text_that_is_no_evidence_of_a_delivery_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text or "valid"):
        Evidence.parse(text)


@pytest.mark.parametrize("kind", EvidenceKind)
def test_exactly_the_deletion_by_a_user_has_a_time(kind: EvidenceKind) -> None:
    is_deletion = kind is EvidenceKind.USER_DELETION
    assert Evidence(kind, NOON if is_deletion else None).kind is kind
    with pytest.raises(ValueError, match=f"no evidence: {kind}"):
        Evidence(kind, None if is_deletion else NOON)


def test_merged_evidence_is_the_stronger_one() -> None:
    deletion, later = user_deletion(NOON), user_deletion(NOON + timedelta(days=1))
    ascending = [REQUEST, HINT, deletion, later]
    for index, weaker in enumerate(ascending):
        for stronger in ascending[index:]:
            assert weaker.merge(stronger) == stronger.merge(weaker) == stronger
    assert OWN_WRITE.kind is [*EvidenceKind][-1]
