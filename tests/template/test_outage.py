"""An outage of six hours, in modelled time: the whole function, and the template's own numbers.

Only S3, GCS, SQS and Lambda's service are models. An invocation takes no time, and its changes run
one after the other. Nothing here is redriven.
"""

import functools
import gc
import heapq
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

import pytest
from fakes import START, FakeGcs, FakeS3
from memory import Context, MemoryStores
from template.stack import EVENT_QUEUE, Stack, notifications, variables

from replicate.errors import (
    CredentialsError,
    DestinationUnavailableError,
    ReplicationError,
    SourceArchivedError,
    SourceUnavailableError,
)
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import Replica, SourceObject, SourceRef, Span
from replicate.protocol.ports import Body
from replicate.settings import Settings

BUCKET = "my-source-bucket"
OUTAGE_S = 6 * 3600
CHANGES = 500
"""In the outage."""
KEYS = 120
LAMBDA_RETRIES_S = (60, 120)
"""Before the retries of an asynchronous invocation. Source: Lambda's developer guide."""

Json = dict[str, Any]


class OutageS3(FakeS3):
    """S3 that fails while `error` is set, and always for a key in `poison`."""

    error: ReplicationError | None = None
    poison = ""

    def head(self, ref: SourceRef) -> SourceObject | None:
        self._fail(ref)
        return super().head(ref)

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        self._fail(ref)
        with super().open(ref, version, span) as body:
            yield body

    def _fail(self, ref: SourceRef) -> None:
        if self.error:
            raise self.error
        if ref.key == self.poison:
            raise SourceArchivedError("frozen")


class OutageGcs(FakeGcs):
    """GCS that fails while `error` is set: each run reads or writes it."""

    error: ReplicationError | None = None

    def head(self, name: str) -> Replica | None:
        if self.error:
            raise self.error
        return super().head(name)

    def write(self, *arguments: Any, **named: Any) -> Replica:  # noqa: ANN401
        if self.error:
            raise self.error
        return super().write(*arguments, **named)


class Stores(MemoryStores):
    """Stores whose settings are read once."""

    @functools.cached_property
    def settings(self) -> Settings:
        return super().settings


@dataclass
class Queued:
    """A message of the event queue."""

    body: Json
    sent_at: float
    receives: int = 0


@dataclass
class World:
    """A deployed stack in modelled time, in seconds."""

    stack: Stack
    s3: OutageS3 = field(default_factory=OutageS3)
    gcs: OutageGcs = field(default_factory=OutageGcs)
    now: float = 0.0
    letters: list[Json] = field(default_factory=list)
    ended: dict[str, float] = field(default_factory=dict)
    """When the last event of a key was acknowledged."""
    invocations: Counter[int] = field(default_factory=Counter)
    """By the second in which they begin."""
    _due: list[tuple[float, int, Json | Queued, int]] = field(default_factory=list)
    """When, an order, an asynchronous event or a message, and the attempts of the event so far."""
    _number: Iterator[int] = field(default_factory=count)
    _delays: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        environ = variables(self.stack)
        del environ["POWERTOOLS_SERVICE_NAME"]  # the stores have a unique one
        stores = Stores(s3=self.s3, gcs=self.gcs, environ=environ, queues=self)
        self._function = stores.function()
        self._queue = self.stack.properties("EventQueue")
        self._asynchronous = self.stack.properties("AsyncInvocations")
        self._is_direct = any("Function" in each for each in notifications(self.stack))
        destination = self._asynchronous["DestinationConfig"]["OnFailure"]["Destination"]
        assert destination == EVENT_QUEUE
        assert sum(LAMBDA_RETRIES_S) < self._asynchronous["MaximumEventAgeInSeconds"]
        self.mapping = self.stack.properties("EventQueueMapping")
        assert self.mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    # The port Queues

    def store_letter(self, letter: str, deadline: Deadline) -> None:
        deadline.require()
        self.letters.append(json.loads(letter))

    def resend(self, message: str, delay_s: int, deadline: Deadline) -> None:
        deadline.require()
        self._add(self.now + delay_s, Queued(json.loads(message), self.now))

    def postpone(self, delays: Sequence[tuple[str, int]], deadline: Deadline) -> None:
        deadline.require()
        self._delays |= dict(delays)

    # S3, Lambda and SQS

    def put(self, number: int, data: bytes) -> None:
        """Create or overwrite an object, and send the event that S3 sends."""
        self.s3.now = START + timedelta(seconds=self.now)
        self.s3.put(SourceRef(BUCKET, f"key-{number}"), data)
        self._send(f"key-{number}", "ObjectCreated:Put")

    def change(self, random: Random) -> None:
        """Create, overwrite or delete an object, and send the event that S3 sends."""
        number = random.randrange(KEYS)
        ref = SourceRef(BUCKET, f"key-{number}")
        exists = super(OutageS3, self.s3).head(ref) is not None
        if exists and random.random() < 0.2:
            self.s3.now = START + timedelta(seconds=self.now)
            self.s3.delete(ref)
            self._send(ref.key, "ObjectRemoved:Delete")
        else:
            self.put(number, random.randbytes(20))

    def _send(self, key: str, name: str) -> None:
        event = {
            "Records": [
                {
                    "eventSource": "aws:s3",
                    "eventName": name,
                    "eventTime": self.s3.now.isoformat(),
                    "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}},
                }
            ]
        }
        self._add(self.now, event if self._is_direct else Queued(event, self.now))

    def run(self, until: float) -> None:
        """Deliver everything that is due until a moment."""
        while self._due and self._due[0][0] <= until:
            at, _, due, attempts = heapq.heappop(self._due)
            self.now = max(self.now, at)
            if isinstance(due, Queued):
                self._deliver([due, *self._batch(at)])
            else:
                self._invoke(due, attempts + 1)
        self.now = max(self.now, until)

    def _add(self, at: float, due: Json | Queued, attempts: int = 0) -> None:
        heapq.heappush(self._due, (at, next(self._number), due, attempts))

    def _batch(self, at: float) -> Iterator[Queued]:
        """Take further messages that are visible within the same second."""
        for _ in range(self.mapping["BatchSize"] - 1):
            if not self._due or self._due[0][0] > at + 1 or not isinstance(self._due[0][2], Queued):
                return
            message = heapq.heappop(self._due)[2]
            assert isinstance(message, Queued)
            yield message

    def _invoke(self, event: Json, attempts: int) -> None:
        """Invoke the function asynchronously, as Lambda does: then again, then the destination."""
        self.invocations[int(self.now)] += 1
        try:
            self._function.handle(event, Context())
        except ReplicationError as error:
            if attempts <= self._asynchronous["MaximumRetryAttempts"]:
                self._add(self.now + LAMBDA_RETRIES_S[attempts - 1], event, attempts)
            else:
                record = {
                    "requestContext": {"approximateInvokeCount": attempts},
                    "requestPayload": event,
                    "responsePayload": {"errorMessage": error.message},
                }
                self._add(self.now, Queued(record, self.now))
        else:
            self._acknowledge(event)

    def _deliver(self, messages: Sequence[Queued]) -> None:
        self.invocations[int(self.now)] += 1
        self._delays.clear()
        for message in messages:
            message.receives += 1
        batch = {"Records": [*map(self._record, map(str, range(10)), messages)]}
        response = self._function.handle(batch, Context())
        failed = {int(each["itemIdentifier"]) for each in response["batchItemFailures"]}
        for number, message in enumerate(messages):
            if number not in failed:
                self._acknowledge(message.body)
            elif message.receives < self._queue["RedrivePolicy"]["maxReceiveCount"]:
                delay_s = self._delays.get(str(number), self._queue["VisibilityTimeout"])
                assert self.now + delay_s - message.sent_at < self._queue["MessageRetentionPeriod"]
                self._add(self.now + delay_s, message)
            else:
                self.letters.append(message.body)

    def _record(self, name: str, message: Queued) -> Json:
        sent_at = datetime.now(UTC) - timedelta(seconds=self.now - message.sent_at)
        return {
            "eventSource": "aws:sqs",
            "messageId": name,
            "receiptHandle": name,
            "body": json.dumps(message.body),
            "attributes": {
                "SentTimestamp": str(int(sent_at.timestamp() * 1000)),
                "ApproximateReceiveCount": str(message.receives),
            },
        }

    def _acknowledge(self, event: Json) -> None:
        event = event.get("retriedEvent", event)
        event = event.get("requestPayload", event)
        self.ended[event["Records"][0]["s3"]["object"]["key"]] = self.now

    def differences(self) -> set[str]:
        """Return the keys whose bytes differ."""
        found: Mapping[str, bytes] = {n: stored.data for n, stored in self.gcs.objects.items()}
        keys = {f"key-{number}" for number in range(KEYS)}
        return {key for key in keys if self._bytes(key) != found.get(key)}

    def _bytes(self, key: str) -> bytes | None:
        pinned = self.s3.pin(SourceRef(BUCKET, key))
        return pinned.data if pinned else None


OUTAGES = {
    "GCS or token service fails": DestinationUnavailableError("GCS is unavailable"),
    "token service refuses": CredentialsError("Google does not accept the credentials"),
    "S3 fails": SourceUnavailableError("S3 is unavailable"),
}
"""What the adapters raise; tests/e2e/test_template_delivery.py has the real services."""


def run_at_once(
    _: ThreadPoolExecutor,
    function: Callable[..., Any],
    *arguments: Any,  # noqa: ANN401
) -> Future[Any]:
    """Replace `submit`: threads take a third of the time of this module."""
    ended: Future[Any] = Future()
    ended.set_result(function(*arguments))
    return ended


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log nothing, and start no thread: both take longer than the invocations."""
    monkeypatch.setattr(ThreadPoolExecutor, "submit", run_at_once)
    logging.disable()
    gc.freeze()
    yield
    gc.unfreeze()
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("delivery", ["direct", "queue"])
@pytest.mark.parametrize("what", OUTAGES)
def test_outage_of_six_hours_heals_within_an_hour_and_nothing_is_redriven(
    delivery: str, what: str
) -> None:
    stack = Stack(Delivery=delivery, ReplicateDeletes="true")
    world, random = World(stack), Random(7)  # noqa: S311 - repeatable
    for number in range(KEYS):
        world.put(number, b"before")
    world.run(0)
    assert (len(world.gcs.objects), world.differences()) == (KEYS, set())
    world.ended.clear()
    world.invocations.clear()
    broken = world.s3 if what == "S3 fails" else world.gcs
    broken.error = OUTAGES[what]
    for at in sorted(random.uniform(0, OUTAGE_S) for _ in range(CHANGES)):
        world.run(at)
        world.change(random)
    world.run(OUTAGE_S)
    stale = set(world.gcs.objects)
    assert len(stale) == KEYS
    assert len(world.differences()) > KEYS * 0.9
    broken.error = None
    world.run(OUTAGE_S + 24 * 3600)
    assert world.differences() == set()
    assert len(stale - world.gcs.objects.keys()) > KEYS * 0.1, "deleted after the outage"
    overwritten = {key for key in world.gcs.objects if world.gcs.objects[key].data != b"before"}
    assert len(overwritten) > KEYS * 0.5, "after the outage"
    assert world.letters == []
    tail = sorted(at - OUTAGE_S for at in world.ended.values())
    assert 20 * 60 < tail[len(tail) // 2] < 45 * 60, "median of the keys' last events"
    assert 45 * 60 < tail[-1] <= 60 * 60, "the longest wait"
    assert world.invocations.total() / CHANGES < 12, "per event"
    in_a_second = world.mapping["ScalingConfig"]["MaximumConcurrency"]
    assert max(world.invocations.values()) <= in_a_second, "no event waits for another"


@pytest.mark.parametrize("delivery", ["direct", "queue"])
def test_poison_object_does_not_delay_its_neighbours(delivery: str) -> None:
    world = World(Stack(Delivery=delivery))
    world.s3.poison = "key-3"
    for number in range(10):
        world.put(number, b"bytes")
    world.run(1)
    assert world.differences() == {"key-3"}
    assert [letter["failures"][0]["source"]["key"] for letter in world.letters] == ["key-3"]
