"""Failed messages: which are delivered again, when, and what becomes a dead letter."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
from fakes import PLAIN, FakeGcs, FakeS3, Upload, read_checked
from memory import Context, FailingSource, MemoryStores
from waiting import wait_until

from replicate.aws_clients import SHORTEST_TIMEOUT_S
from replicate.entry import execution_watch, sqs
from replicate.entry.invocation import Cause, Change, Message, Receipt
from replicate.entry.sqs import ABANDONED_AFTER
from replicate.errors import (
    COSTLY_BYTES,
    BatchFailedError,
    DestinationUnavailableError,
    GivenUpError,
    IntegrityError,
    InvalidEventError,
    OutOfTimeError,
    SourceArchivedError,
    SourceUnavailableError,
    ThrottledError,
    UnavailableError,
)
from replicate.gcs.resumable_upload import CANCEL_S
from replicate.protocol.deadline import MARGIN_S, Deadline
from replicate.protocol.model import Attributes, Replica, SourceRef
from replicate.protocol.ports import GatedBody
from replicate.settlement.failure import Failure
from replicate.settlement.letters import MAX_BODY_BYTES, dead_letter
from replicate.settlement.policy import COSTLY_WAITS, GIVE_UP_AFTER, RedeliveryPolicy

BUCKET = "source"
POLICY = RedeliveryPolicy()
FAILURES: dict[str, Exception] = {
    "frozen": SourceArchivedError("frozen solid"),
    "damaged": IntegrityError("other bytes"),
    "endless": OutOfTimeError("the time ran out"),
    "down": SourceUnavailableError("down"),
    "defect": ZeroDivisionError("a defect"),
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
    resent: list[tuple[Any, int]] = field(default_factory=list)
    """Messages for the event queue, and their delays."""
    broken: bool = False
    left_s: float = 0.0
    """The time for the last request."""

    def store_letter(self, letter: str, deadline: Deadline) -> None:
        self._use(deadline)
        assert len(letter.encode()) <= MAX_BODY_BYTES
        self.letters.append(json.loads(letter))

    def resend(self, message: str, delay_s: int, deadline: Deadline) -> None:
        self._use(deadline)
        assert len(message.encode()) <= MAX_BODY_BYTES
        self.resent.append((json.loads(message), delay_s))

    def postpone(self, delays: Sequence[tuple[str, int]], deadline: Deadline) -> None:
        self._use(deadline)
        self.delays |= dict(delays)

    def _use(self, deadline: Deadline) -> None:
        self.left_s = deadline.require()
        if self.broken:
            raise UnavailableError("SQS is down")


class LateFailingGcs(FakeGcs):
    """Takes all bytes of an object, and does not store it."""

    def write(self, _: str, __: Attributes, body: GatedBody, *___: object) -> Replica:
        read_checked(body)
        raise DestinationUnavailableError("503 to the last request")


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


def test_oldest_message_that_fails_and_is_delivered_again_is_measured(
    queues: FakeQueues, capsys: pytest.CaptureFixture[str]
) -> None:
    ages = {"slow": 2, "good": 30, "frozen": 40, "late": 1}
    messages = [message(k, notification(k), age=timedelta(hours=h)) for k, h in ages.items()]
    deliver(queues, {"Records": messages})
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert metrics["OldestFailure"] == [pytest.approx(2 * 3600, abs=60)]
    (described,) = metrics["_aws"]["CloudWatchMetrics"]
    assert {"Name": "OldestFailure", "Unit": "Seconds"} in described["Metrics"]
    deliver(queues, {"Records": [message("good", notification("good"))]})
    assert "OldestFailure" not in capsys.readouterr().out


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
    keys = ("good", "damaged", "frozen", "good2", "down")
    response = deliver(queues, {"Records": [message(key, notification(key)) for key in keys]})
    assert failed(response) == ["down"]
    assert [body["retriedEvent"] for body, _ in queues.resent] == [notification("damaged")]
    assert [letter["failedEvent"] for letter in queues.letters] == [notification("frozen")]
    assert queues.delays.keys() == {"handle of down"}


def test_object_whose_response_stalls_does_not_delay_its_neighbours(queues: FakeQueues) -> None:
    """Its request ends only after all others have arrived."""
    stores = MemoryStores(queues=queues)

    class Stalled(FailingSource):
        def _fail(self, ref: SourceRef) -> None:
            if ref.key == "stalled":
                wait_until(lambda: len(stores.gcs.objects) == 9, "the neighbours arrive")
                raise SourceUnavailableError("silence", timed_out=True)

    stores.wrap = lambda source: Stalled(source, {})
    keys = ["stalled", *(f"key-{number}" for number in range(9))]
    for key in keys:
        stores.s3.put(SourceRef(BUCKET, key), b"bytes")
    batch = {"Records": [message(key, notification(key)) for key in keys]}
    assert failed(stores.function().handle(batch, Context())) == ["stalled"]
    assert queues.letters == []
    assert queues.delays.keys() == {"handle of stalled"}


def test_event_that_meets_a_defect_of_the_function_is_kept(queues: FakeQueues) -> None:
    batch = {"Records": [message("m", notification("defect"))]}
    assert failed(deliver(queues, batch)) == []
    (letter,) = queues.letters
    assert letter["failedEvent"] == notification("defect")
    assert letter["failures"][0]["code"] == "internal_error"
    assert "ZeroDivisionError" not in json.dumps(letter)


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


@pytest.mark.parametrize(
    ("prefix", "key"),
    [("backup/", "k" * 1018), ("", "a\nb"), ("", ".."), ("", ".s3-to-gcs-replicator/staging/x")],
    ids=["too long with the prefix", "line break", "two dots", "staged"],
)
def test_key_that_gcs_cannot_hold_is_a_dead_letter_and_its_neighbours_are_replicated(
    queues: FakeQueues, prefix: str, key: str
) -> None:
    stores = MemoryStores(queues=queues, environ={"GCS_KEY_PREFIX": prefix})
    for each in (key, "good"):
        stores.s3.put(SourceRef(BUCKET, each), b"bytes")
    batch = {"Records": [message(each, notification(quote(each))) for each in (key, "good")]}
    assert failed(stores.function().handle(batch, Context())) == []
    ((cause,),) = [letter["failures"] for letter in queues.letters]
    assert (cause["code"], cause["source"]["key"]) == ("invalid_name", key)
    assert [*stores.gcs.objects] == [f"{prefix}good"]


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


def letter(event: object, failures: int) -> str:
    """Return the dead letter of an event, with very long keys and messages."""
    causes = [
        Cause(SourceRef(BUCKET, f"{number} {'東' * 300}"), SourceArchivedError("東" * 5000))
        for number in range(failures)
    ]
    return dead_letter(Failure(Message(event=event), tuple(causes)), datetime.now(UTC), "id")


def test_letter_has_no_metadata_tag_or_header_of_the_object(queues: FakeQueues) -> None:
    stores = MemoryStores(queues=queues, environ={"REPLICATE_TAGS": "contexts", "OVERWRITE": "own"})
    stores.s3.reads_tags = True
    stores.gcs.put("x", b"theirs", replace(PLAIN, metadata={"theirs": "PRIVATE"}))
    private = {"private": "PRIVATE"}
    upload = Upload(data=b"PRIVATE", metadata=private, tags=private, content_disposition="PRIVATE")
    stores.s3.upload(SourceRef(BUCKET, "x"), upload)
    batch = {"Records": [message("m", notification("x"))]}
    assert failed(stores.function().handle(batch, Context())) == []
    (letter,) = queues.letters
    assert letter["failures"][0]["code"] == "destination_foreign"
    assert "PRIVATE" not in json.dumps(letter)


@pytest.mark.parametrize("failures", [1, 50, 4000])
@pytest.mark.parametrize(
    "event", ["東" * 1000, {"Records": "x" * 256 * 1024}], ids=["text", "JSON"]
)
def test_letter_of_many_failures_describes_fifty_and_cuts_long_texts(
    event: object, failures: int
) -> None:
    text = letter(event, failures)
    assert len(text.encode()) <= MAX_BODY_BYTES
    described = json.loads(text)
    assert described["failedEvent"] == event
    assert [len(f["message"]) for f in described["failures"]] == [1000] * min(failures, 50)


@pytest.mark.parametrize("part", ["x", "é", "東", "🚢", '"', "\\"])
def test_event_that_leaves_no_room_for_the_reason_is_kept_bare(part: str) -> None:
    whole = json.dumps({"key": part}, ensure_ascii=False, separators=(",", ":"))
    room = MAX_BODY_BYTES - len(whole.encode())
    value = part * (1 + room // (len(whole.encode()) - len('{"key":""}')))
    event, text = {"key": value}, part * (MAX_BODY_BYTES // len(part.encode()))
    assert json.loads(letter(event, 4000)) == event
    assert letter(text, 4000) == text
    for kept in (letter(event, 1), letter(text, 1)):
        assert MAX_BODY_BYTES - 10 < len(kept.encode()) <= MAX_BODY_BYTES


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
def test_object_that_is_transferred_in_vain_is_given_up_after_five_transfers(
    queues: FakeQueues, key: str
) -> None:
    """An outage before, with hundreds of deliveries, does not count."""
    body, age, receives = notification(key), timedelta(days=2), 200
    for transfers in range(1, 5):
        assert failed(deliver(queues, {"Records": [message("m", body, receives, age)]})) == []
        body, delay_s = queues.resent.pop()
        assert (body["retriedEvent"], body["transfers"]) == (notification(key), transfers)
        assert body["attempts"] == 199 + transfers
        assert 60 * 2 ** (transfers - 1) <= delay_s <= min(60 * 2**transfers, 900)
        queued_at = datetime.now(UTC) - datetime.fromisoformat(body["firstSentAt"])
        assert abs(queued_at - timedelta(days=2)) < timedelta(minutes=1)
        receives, age = 1, timedelta(0)
    assert (queues.letters, queues.delays) == ([], {})
    assert failed(deliver(queues, {"Records": [message("m", body)]})) == []
    (letter,) = queues.letters
    assert (letter["failedEvent"], letter["attempts"]) == (notification(key), 204)
    assert queues.resent == []


def retried(event: object, transfers: object = 4, age: timedelta = timedelta(0)) -> dict[str, Any]:
    """Return a message that the function has just sent again, of an event of this age."""
    now = datetime.now(UTC)
    first, last = (now - age - timedelta(minutes=1)).isoformat(), now.isoformat()
    return {
        "retriedEvent": event,
        "transfers": transfers,
        "attempts": 8,
        "firstSentAt": first,
        "sentAt": last,
    }


def test_object_beside_one_that_may_still_arrive_is_not_given_up(queues: FakeQueues) -> None:
    batch = {"Records": [message("m", retried(notification("down", "damaged")))]}
    assert failed(deliver(queues, batch)) == ["m"]
    assert (queues.letters, queues.resent) == ([], [])
    assert queues.delays.keys() == {"handle of m"}


class EndingContext(Context):
    """After the run, its last request of AWS and the cancellation of its upload took longest."""

    __slots__ = ()
    times_s: ClassVar[list[float]] = []

    def get_remaining_time_in_millis(self) -> int:
        return round(1000 * self.times_s.pop(0))


def test_transfer_is_counted_after_the_slowest_end_of_a_run(queues: FakeQueues) -> None:
    stores = MemoryStores(queues=queues, wrap=lambda source: FailingSource(source, FAILURES))
    EndingContext.times_s = [60.0, MARGIN_S - SHORTEST_TIMEOUT_S - CANCEL_S]
    batch = {"Records": [message("m", notification("endless"))]}
    assert failed(stores.function().handle(batch, EndingContext())) == []
    assert [body["transfers"] for body, _ in queues.resent] == [1]
    assert queues.left_s == pytest.approx(0.5, abs=0.2)


def test_transfer_that_cannot_be_counted_is_delivered_again(queues: FakeQueues) -> None:
    queues.broken = True
    assert failed(deliver(queues, {"Records": [message("m", notification("damaged"))]})) == ["m"]


def test_message_that_is_sent_again_keeps_the_age_of_its_event(queues: FakeQueues) -> None:
    body = retried(notification("down"), 1, GIVE_UP_AFTER)
    assert failed(deliver(queues, {"Records": [message("m", body)]})) == []
    assert len(queues.letters) == 1


@pytest.mark.parametrize(
    ("made_ago", "is_kept"),
    [(timedelta(minutes=4), True), (timedelta(minutes=10), False)],
    ids=["sent by the function", "redriven"],
)
def test_message_that_waits_for_executions_has_the_age_of_its_event(
    queues: FakeQueues, made_ago: timedelta, *, is_kept: bool
) -> None:
    """The function sends a new message every few minutes, here for another state of GCS."""
    now = datetime.now(UTC)
    since = now - GIVE_UP_AFTER - timedelta(minutes=1)
    waiting = Change(SourceRef(BUCKET, "down"), since=since, watched=frozenset({"other-1"}))
    body = execution_watch.write_message(waiting, "name-1", now - made_ago)
    batch = {"Records": [message("m", body, 1, timedelta(minutes=4))]}
    assert failed(deliver(queues, batch)) == ([] if is_kept else ["m"])
    assert len(queues.letters) == is_kept


def test_dead_letter_counts_the_attempts_before_the_event_waited_for_an_execution(
    queues: FakeQueues,
) -> None:
    """The function stores a new message for each look at the execution. A redrive adds one."""
    now = datetime.now(UTC)
    batch = {"Records": [message("m", notification("frozen"), receives=3)]}
    body: Any = None
    for _ in range(2):
        (waiting,) = sqs.parse_invocation(batch, now, Context()).changes
        body = json.loads(execution_watch.write_message(waiting, "name-1", now))
        batch = {"Records": [message("m", body)]}
    for attempts in (5, 6):
        deliver(queues, {"Records": [message("m", body)]})
        body = queues.letters[-1]
        assert body["attempts"] == attempts


def test_malformed_time_of_a_watch_fails_its_message_alone(queues: FakeQueues) -> None:
    watch = {"bucket": BUCKET, "key": "good", "execution": "name-1", "since": "2026-11-26T12:00:00"}
    batch = [message("m", {"executionWatch": watch}), message("n", notification("down"))]
    assert failed(deliver(queues, {"Records": batch})) == ["n"]
    assert [letter["failures"][0]["code"] for letter in queues.letters] == ["invalid_event"]


def test_event_counts_transfers_and_age_anew_when_somebody_has_sent_it_again(
    queues: FakeQueues,
) -> None:
    body = retried(notification("damaged"), 4, GIVE_UP_AFTER)
    body["sentAt"] = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    assert failed(deliver(queues, {"Records": [message("m", body)]})) == []
    ((again, _),) = queues.resent
    assert (again["transfers"], again["attempts"]) == (1, 9)


@pytest.mark.parametrize(
    "change",
    [
        {"transfers": "x"},
        {"firstSentAt": "x"},
        {"firstSentAt": None},
        {"firstSentAt": "2026-01-01T00:00:00"},
        {"sentAt": 5},
        {"firstSentAt": "9999-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_malformed_count_counts_nothing(queues: FakeQueues, change: dict[str, Any]) -> None:
    body = retried(notification("damaged")) | change
    assert failed(deliver(queues, {"Records": [message("m", body)]})) == []
    ((again, _),) = queues.resent
    assert again["transfers"] == 1


@pytest.mark.parametrize(
    ("transfers", "age", "keys"),
    [(4, timedelta(0), ["damaged"]), (0, GIVE_UP_AFTER, ["down", "damaged"])],
    ids=["transferred often", "tried for days"],
)
def test_event_with_a_forged_history_is_given_up_at_its_first_failure(
    queues: FakeQueues, transfers: int, age: timedelta, keys: list[str]
) -> None:
    """Nothing else happens: an object that can be replicated is."""
    bodies = [retried(notification(key), transfers, age) for key in (*keys, "good")]
    batch = [message(str(number), body) for number, body in enumerate(bodies)]
    assert failed(deliver(queues, {"Records": batch})) == []
    assert [letter["failedEvent"] for letter in queues.letters] == [*map(notification, keys)]
    assert (queues.resent, queues.delays) == ([], {})


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


@pytest.mark.parametrize("size", [COSTLY_BYTES - 1, COSTLY_BYTES])
def test_event_waits_up_to_three_hours_after_it_moved_many_bytes_in_vain(
    queues: FakeQueues, size: int
) -> None:
    """GCS takes all bytes and fails then. A day has about ten such transfers, and none counts."""
    stores = MemoryStores(gcs=LateFailingGcs(), queues=queues)
    stores.s3.put(SourceRef(BUCKET, "late"), bytes(size))
    batch = {"Records": [message("m", notification("late"), receives=20)]}
    assert failed(stores.function().handle(batch, Context())) == ["m"]
    is_costly = size >= COSTLY_BYTES
    error = DestinationUnavailableError("late")
    error.bytes_wasted = size
    patient = RedeliveryPolicy(longest_s=36_000)  # the most that a setting may have
    slow = Failure(Message(receipt=Receipt("", 20)), (Cause(None, error),))
    assert 10_800 <= slow.delay_s(patient) <= 36_000, "SQS hides a message for 12 hours at most"
    assert 1800 <= queues.delays["handle of m"] / (COSTLY_WAITS if is_costly else 1) <= 3600
    assert (queues.resent, queues.letters) == ([], [])


@pytest.mark.parametrize("attributes", [{}, {"SentTimestamp": "x"}, None])
def test_message_without_usable_attributes_is_delivered_again_after_its_visibility_timeout(
    queues: FakeQueues, attributes: object
) -> None:
    record = message("m", notification("down")) | {"attributes": attributes}
    assert failed(deliver(queues, {"Records": [record]})) == ["m"]
    assert queues.delays == {}
