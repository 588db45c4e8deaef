"""Objects outside the scope are not touched, by any invoker."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from executions import FakeExecutions
from fakes import FakeGcs, FakeS3
from memory import Context, MemoryStores, sample_event

from replicate.errors import ReplicationError, SourceNotAllowedError
from replicate.protocol.model import Replica, SourceObject, SourceRef, Span
from replicate.protocol.ports import Body
from replicate.protocol.scope import Scope
from replicate.step_errors import PermanentError

INSIDE = SourceRef("source", "year=2026/a b.jpg")
OUTSIDE = [
    SourceRef("source-of-others", INSIDE.key),
    SourceRef("source", "year=2025/a b.jpg"),
    SourceRef("source", "year=2026/a b.png"),
    SourceRef("source", "year%3D2026/a+b.jpg"),
]
ENVIRON = {
    "SOURCE_BUCKETS": "source",
    "SOURCE_PREFIX": "year%3D2026/",
    "SOURCE_SUFFIX": "+b.jpg",
    "SOURCE_FILTER_ENCODING": "url",
}

Event = dict[str, Any]

each_outside = pytest.mark.parametrize("ref", OUTSIDE, ids=lambda ref: ref.uri)


@dataclass
class World:
    """A function and the stores behind it. S3 has all objects."""

    stores: MemoryStores = field(default_factory=lambda: MemoryStores(environ=ENVIRON))

    def __post_init__(self) -> None:
        for ref in (INSIDE, *OUTSIDE):
            self.stores.s3.put(ref, b"bytes")

    def handle(self, event: Event) -> Event:
        return self.stores.function().handle(event, Context())

    @property
    def replicas(self) -> set[str]:
        return set(self.stores.gcs.objects)


def eventbridge(ref: SourceRef) -> Event:
    event = sample_event("eventbridge-object-created")
    detail = {"bucket": {"name": ref.bucket}, "object": {"key": ref.key, "size": 5}}
    return event | {"detail": event["detail"] | detail}


def in_queue(*bodies: Event) -> Event:
    return {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": str(n), "body": json.dumps(body)}
            for n, body in enumerate(bodies)
        ]
    }


def in_sns(event: Event) -> Event:
    return {"Type": "Notification", "Message": json.dumps(event)}


def watch(ref: SourceRef) -> Event:
    return {"executionWatch": {"bucket": ref.bucket, "key": ref.key, "execution": "e"}}


def nomination(ref: SourceRef) -> Event:
    return {"nomination": {"bucket": ref.bucket, "key": ref.key}}


def api_request(ref: SourceRef) -> Event:
    body = json.dumps({"s3_bucket": ref.bucket, "s3_key": ref.key})
    return sample_event("api-v2") | {"body": body, "isBase64Encoded": False}


def batch_task(ref: SourceRef) -> Event:
    task = {"taskId": "t", "s3Bucket": ref.bucket, "s3Key": ref.key.replace("%", "%25")}
    task["s3Key"] = task["s3Key"].replace("+", "%2B")
    return sample_event("batch-operations-2.0") | {"tasks": [task]}


class ObservedS3(FakeS3):
    """S3 that counts the requests for an object."""

    requests = 0

    def head(self, ref: SourceRef) -> SourceObject | None:
        self.requests += 1
        return super().head(ref)

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        self.requests += 1
        with super().open(ref, version, span) as body:
            yield body


class ObservedGcs(FakeGcs):
    """GCS that counts the readings."""

    requests = 0

    def head(self, name: str) -> Replica | None:
        self.requests += 1
        return super().head(name)


INVOKERS = [eventbridge, api_request, batch_task, watch, nomination]


@pytest.mark.parametrize("make", INVOKERS)
def test_no_request_is_sent_for_an_object_outside_the_scope(make: Callable[..., Event]) -> None:
    """Both stores are asked for the object inside, so the counts mean something."""
    s3, gcs, executions = ObservedS3(), ObservedGcs(), FakeExecutions()
    world = World(MemoryStores(environ=ENVIRON, s3=s3, gcs=gcs, executions=executions))
    for ref in OUTSIDE:
        with suppress(ReplicationError):
            world.handle(make(ref))
    assert (s3.requests, gcs.requests, executions.watches) == (0, 0, [])
    world.handle(make(INSIDE))
    assert s3.requests > 0
    assert gcs.requests > 0 or make is eventbridge, "a new object is written without a look"


@each_outside
def test_event_outside_the_scope_fails_and_says_why(ref: SourceRef) -> None:
    world = World()
    with pytest.raises(ReplicationError, match="is not replicated") as caught:
        world.handle(eventbridge(ref))
    assert f"{ref.uri}: source_not_allowed" in caught.value.message, "the failed change is named"
    assert world.replicas == set()


@each_outside
def test_message_outside_the_scope_fails_beside_one_that_is_inside(ref: SourceRef) -> None:
    world = World()
    event = in_queue(eventbridge(INSIDE), in_sns(eventbridge(ref)), watch(ref), nomination(ref))
    failed = [each["itemIdentifier"] for each in world.handle(event)["batchItemFailures"]]
    assert failed == ["1", "2", "3"]
    assert world.replicas == {INSIDE.key}


@each_outside
def test_api_refuses_an_object_outside_the_scope_with_403(ref: SourceRef) -> None:
    world = World()
    response = world.handle(api_request(ref))
    error = json.loads(response["body"])["error"]
    assert (response["statusCode"], error["code"]) == (403, "source_not_allowed")
    assert ref.uri in error["message"]
    assert world.replicas == set()


@each_outside
def test_batch_task_outside_the_scope_fails_for_good(ref: SourceRef) -> None:
    world = World()
    (task,) = world.handle(batch_task(ref))["results"]
    assert task["resultCode"] == "PermanentFailure"
    assert task["resultString"].startswith("source_not_allowed: ")
    assert world.replicas == set()


@each_outside
def test_step_of_an_execution_outside_the_scope_fails_for_good(ref: SourceRef) -> None:
    event = {"large": "plan", "bucket": ref.bucket, "key": ref.key, "version": None, "round": 0}
    with pytest.raises(PermanentError, match="source_not_allowed"):
        World().stores.function().steps.copy_large(event, Context())


@pytest.mark.parametrize("make", INVOKERS)
def test_every_invoker_reaches_the_objects_inside(make: Callable[..., Event]) -> None:
    world = World()
    world.handle(make(INSIDE))
    assert world.replicas == {INSIDE.key}


def test_each_part_of_the_scope_is_named() -> None:
    scope = Scope(frozenset({"source"}), "a/", ".jpg")
    scope.require(SourceRef("source", "a/.jpg"))
    for ref, name in (
        (SourceRef("other", "a/.jpg"), "SOURCE_BUCKETS"),
        (SourceRef("source", "b/.jpg"), r" \(SOURCE_PREFIX\)\.$"),
        (SourceRef("source", "a/.png"), r" \(SOURCE_SUFFIX\)\.$"),
    ):
        with pytest.raises(SourceNotAllowedError, match=name):
            scope.require(ref)
