"""Failed messages: which are delivered again, when, and what becomes a dead letter."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fakes import FakeS3
from memory import Context, FailingSource, MemoryStores

from replicate.entry.failures import GIVE_UP_AFTER, RedeliveryPolicy
from replicate.entry.sqs import ABANDONED_AFTER
from replicate.errors import (
    BatchFailedError,
    GivenUpError,
    IntegrityError,
    InvalidEventError,
    OutOfTimeError,
    SourceArchivedError,
    SourceUnavailableError,
    ThrottledError,
    UnavailableError,
)
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef

BUCKET = "source"
POLICY = RedeliveryPolicy()
FAILURES: dict[str, Exception] = {
    "frozen": SourceArchivedError("frozen solid"),
    "damaged": IntegrityError("other bytes"),
    "endless": OutOfTimeError("the time ran out"),
    "down": SourceUnavailableError("down"),
    "slow": ThrottledError("slow down", retry_after_s=1800.0),
    "verbose": SourceArchivedError("x" * 5000),
    "late": ThrottledError("much later", retry_after_s=1e6),
}
"""Errors by key. Every other key succeeds."""


@dataclass
class FakeQueues:
    """The stack's queues in memory. `broken` refuses everything."""

    letters: list[Any] = field(default_factory=list)
    delays: dict[str, int] = field(default_factory=dict)
    broken: bool = False

    def keep(self, letter: str, deadline: Deadline) -> None:
        self._use(deadline)
        self.letters.append(json.loads(letter))

    def postpone(self, delays: Sequence[tuple[str, int]], deadline: Deadline) -> None:
        self._use(deadline)
        self.delays |= dict(delays)

    def _use(self, deadline: Deadline) -> None:
        deadline.require()
        if self.broken:
            raise UnavailableError("SQS is down")


@pytest.fixture
def queues() -> FakeQueues:
    return FakeQueues()


def deliver(queues: FakeQueues, event: object, remaining_ms: int = 60_000) -> dict[str, Any]:
    stores = MemoryStores(
        s3=FakeS3(),
        queues=queues,
        wrap=lambda source: FailingSource(source, FAILURES),
    )
    stores.s3.put(SourceRef(BUCKET, "good"), b"bytes")
    return stores.function().handle(event, Context(remaining_ms=remaining_ms))


def notification(*keys: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "eventTime": "2026-11-22T12:00:00.000Z",
                "s3": {"bucket": {"name": BUCKET}, "object": {"key": key, "size": 5}},
            }
            for key in keys
        ]
    }


def message(name: str, body: object, receives: int = 1, age: timedelta = timedelta(0)) -> Any:  # noqa: ANN401
    """Return one record of a batch."""
    sent_at = datetime.now(UTC) - age
    return {
        "eventSource": "aws:sqs",
        "messageId": name,
        "receiptHandle": f"handle of {name}",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {
            "SentTimestamp": str(int(sent_at.timestamp() * 1000)),
            "ApproximateReceiveCount": str(receives),
        },
    }


def failed(response: dict[str, Any]) -> list[str]:
    return [each["itemIdentifier"] for each in response["batchItemFailures"]]


def test_permanent_failure_of_a_batch_is_kept_with_its_reason_and_acknowledged(
    queues: FakeQueues,
) -> None:
    event = notification("frozen")
    batch = {"Records": [message("m", event, receives=3), message("n", notification("good"))]}
    assert deliver(queues, batch) == {"batchItemFailures": []}
    (letter,) = queues.letters
    assert datetime.fromisoformat(letter.pop("failedAt")).tzinfo == UTC
    assert letter.pop("requestId")
    assert letter == {
        "failedEvent": event,
        "failures": [
            {
                "code": "source_archived",
                "message": "frozen solid",
                "status": 409,
                "retryable": False,
                "source": {"bucket": BUCKET, "key": "frozen"},
            }
        ],
        "attempts": 3,
    }
    assert queues.delays == {}


def test_each_message_of_a_batch_is_settled_by_itself(queues: FakeQueues) -> None:
    keys = ("frozen", "good", "down", "good2")
    response = deliver(queues, {"Records": [message(key, notification(key)) for key in keys]})
    assert failed(response) == ["down"]
    assert [letter["failedEvent"] for letter in queues.letters] == [notification("frozen")]
    assert queues.delays.keys() == {"handle of down"}


def test_one_transient_failure_lets_the_whole_event_come_again(queues: FakeQueues) -> None:
    response = deliver(queues, {"Records": [message("m", notification("frozen", "down"))]})
    assert failed(response) == ["m"]
    assert queues.letters == []
    assert queues.delays.keys() == {"handle of m"}


def test_nothing_is_acknowledged_that_could_not_be_kept(queues: FakeQueues) -> None:
    queues.broken = True
    batch = {"Records": [message("m", notification("frozen")), message("n", notification("down"))]}
    assert failed(deliver(queues, batch)) == ["m", "n"]
    with pytest.raises(BatchFailedError, match="source_archived: frozen solid"):
        deliver(queues, notification("frozen"))


def test_an_invocation_without_time_keeps_nothing_and_responds(queues: FakeQueues) -> None:
    batch = {"Records": [message("m", "no JSON")]}
    assert failed(deliver(queues, batch, remaining_ms=400)) == ["m"]
    assert queues.letters == []


def test_asynchronous_event_that_fails_permanently_is_kept_and_not_retried_by_lambda(
    queues: FakeQueues,
) -> None:
    assert deliver(queues, notification("good", "frozen")) == {"results": []}
    (letter,) = queues.letters
    assert (letter["failedEvent"], letter["attempts"]) == (notification("good", "frozen"), 1)
    with pytest.raises(BatchFailedError, match="source_unavailable"):
        deliver(queues, notification("down"))
    assert len(queues.letters) == 1


def test_invoker_that_reads_the_response_keeps_its_own_failures(queues: FakeQueues) -> None:
    task = {"taskId": "t", "s3Key": "frozen", "s3VersionId": None, "s3Bucket": BUCKET}
    event = {"invocationSchemaVersion": "2.0", "invocationId": "i", "tasks": [task]}
    assert deliver(queues, event)["results"][0]["resultCode"] == "PermanentFailure"
    assert queues.letters == []


@pytest.mark.parametrize("body", ["no JSON", '{"not": "ours"}', '"text"'])
def test_message_that_cannot_be_read_is_kept_as_it_is(queues: FakeQueues, body: str) -> None:
    assert failed(deliver(queues, {"Records": [message("m", body)]})) == []
    (letter,) = queues.letters
    (cause,) = letter["failures"]
    assert (cause["code"], cause["source"]) == ("invalid_event", None)
    assert letter["failedEvent"] == (body if body == "no JSON" else json.loads(body))
    with pytest.raises(InvalidEventError):
        deliver(FakeQueues(broken=True), json.loads(body) if body != "no JSON" else {})


def test_redriven_letter_that_fails_again_does_not_grow_and_counts_all_attempts(
    queues: FakeQueues,
) -> None:
    event = notification("frozen")
    body: Any = {"requestPayload": event, "requestContext": {"approximateInvokeCount": 3}}
    for attempts in (4, 5, 7):
        receives = 2 if attempts == 7 else 1
        deliver(queues, {"Records": [message("m", body, receives=receives)]})
        body = queues.letters[-1]
        assert (body["failedEvent"], body["attempts"]) == (event, attempts)


def test_long_text_of_an_error_is_cut(queues: FakeQueues) -> None:
    deliver(queues, notification("verbose"))
    assert len(queues.letters[0]["failures"][0]["message"]) == 1000


@pytest.mark.parametrize(
    ("age", "is_kept"),
    [(GIVE_UP_AFTER - timedelta(minutes=1), False), (GIVE_UP_AFTER + timedelta(minutes=1), True)],
)
def test_event_that_fails_for_ten_days_is_given_up(
    queues: FakeQueues, age: timedelta, *, is_kept: bool
) -> None:
    batch = {"Records": [message("m", notification("down"), 400, age)]}
    assert failed(deliver(queues, batch)) == ([] if is_kept else ["m"])
    assert [letter["failures"][0]["code"] for letter in queues.letters] == (
        ["source_unavailable"] if is_kept else []
    )


@pytest.mark.parametrize("key", ["damaged", "endless"])
def test_object_that_is_transferred_in_vain_is_given_up_after_five_deliveries(
    queues: FakeQueues, key: str
) -> None:
    for receives in (1, 4):
        batch = {"Records": [message("m", notification(key), receives)]}
        assert failed(deliver(queues, batch)) == ["m"]
    batch = {"Records": [message("m", notification(key), 5)]}
    assert failed(deliver(queues, batch)) == []
    assert len(queues.letters) == 1
    batch = {"Records": [message("m", notification("down", key), 5)]}
    assert failed(deliver(queues, batch)) == ["m"], "the other object may still arrive"


@pytest.mark.parametrize(
    ("receives", "code"), [(1, None), (2, GivenUpError.code)], ids=["first delivery", "second"]
)
def test_event_that_stops_the_process_each_time_is_kept_before_the_queue_deletes_it(
    queues: FakeQueues, receives: int, code: str | None
) -> None:
    """A message that waited for a stopped function is tried first."""
    age = ABANDONED_AFTER + timedelta(minutes=1)
    deliver(queues, {"Records": [message("m", notification("good"), receives, age)]})
    assert [letter["failures"][0]["code"] for letter in queues.letters] == [code][: receives - 1]
    assert all(letter["failedEvent"] == notification("good") for letter in queues.letters)


@pytest.mark.parametrize(
    ("receives", "shortest", "longest"),
    [(1, 60, 120), (2, 120, 240), (5, 960, 1920), (6, 1800, 3600), (1000, 1800, 3600)],
)
def test_delay_doubles_up_to_an_hour_with_jitter_and_is_never_less_than_a_minute(
    receives: int, shortest: float, longest: float
) -> None:
    drawn = [POLICY.delay_s(receives) for _ in range(300)]
    width = longest - shortest
    assert shortest <= min(drawn) < shortest + width * 0.1
    assert longest - width * 0.1 < max(drawn) <= longest


@pytest.mark.parametrize(
    ("key", "shortest", "longest"), [("down", 60, 120), ("slow", 1800, 1800), ("late", 3600, 3600)]
)
def test_message_waits_at_least_as_long_as_the_store_asked_for_but_an_hour_at_most(
    queues: FakeQueues, key: str, shortest: int, longest: int
) -> None:
    deliver(queues, {"Records": [message("m", notification(key))]})
    assert shortest <= queues.delays["handle of m"] <= longest


@pytest.mark.parametrize("attributes", [{}, {"SentTimestamp": "x"}, None])
def test_message_without_usable_attributes_is_delivered_again_after_its_visibility_timeout(
    queues: FakeQueues, attributes: object
) -> None:
    record = message("m", notification("down")) | {"attributes": attributes}
    assert failed(deliver(queues, {"Records": [record]})) == ["m"]
    assert queues.delays == {}
