"""Events of S3, read once."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from replicate.errors import InvalidEventError
from replicate.events import FRESH, SMALL_BYTES, Batch, Change, parse
from replicate.objects import SourceRef
from replicate.replication import LOOK_FIRST, Hint

EVENTS = Path(__file__).parents[2] / "events"
NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


def a_record(key: str = "key", **said: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "eventSource": "aws:s3",
        "eventName": said.get("name", "ObjectCreated:Put"),
        "eventTime": said.get("time", "2026-11-22T12:00:00.000Z"),
        "s3": {"bucket": {"name": "source"}, "object": {"key": key, "size": said.get("size", 5)}},
    }


def keys(*records: object) -> list[str]:
    return [change.ref.key for change in parse({"Records": list(records)}, NOW).changes]


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("plain/path.txt", "plain/path.txt"),
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("100%25", "100%"),
        ("100%2525", "100%25"),
        ("%C3%BC/%F0%9F%99%82", "ü/🙂"),
        ("a%0Ab", "a\nb"),
        ("folder/", "folder/"),
        ("a%2Fb", "a/b"),
    ],
)
def test_a_key_is_decoded_exactly_once(encoded: str, key: str) -> None:
    assert keys(a_record(encoded)) == [key]


def test_a_key_that_is_not_utf_8_is_a_malformed_record() -> None:
    batch = parse({"Records": [a_record("%FF%FE"), a_record("good")]}, NOW)
    assert [c.ref.key for c in batch.changes] == ["good"]
    assert "Records[0]" in batch.malformed[0].message


def test_several_records_of_one_key_are_one_run_as_old_as_the_oldest() -> None:
    batch = parse(
        {
            "Records": [
                a_record("a", time="2026-11-22T12:00:10Z"),
                a_record("b"),
                a_record("a", time="2026-11-22T12:00:05Z"),
            ]
        },
        NOW,
    )
    a, b = batch.changes
    assert a == Change(
        SourceRef("source", "a"), datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC), Hint(changed=True)
    )
    assert b.ref.key == "b"


def test_the_test_event_asks_for_nothing() -> None:
    event = json.loads((EVENTS / "s3-test-event.json").read_text())
    assert parse(event, NOW) == Batch()


@pytest.mark.parametrize(
    "event",
    [None, 7, "text", [], {}, {"Records": None}, {"Records": []}, {"Records": {}}, {"Event": "x"}],
    ids=str,
)
def test_an_event_that_is_none_of_ours_is_refused_with_what_would_be(event: object) -> None:
    with pytest.raises(InvalidEventError, match=r"S3 notifications .* POST /v1/replicate"):
        parse(event, NOW)


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        {"eventSource": "aws:sqs"},
        {"eventSource": "aws:s3"},
        a_record() | {"s3": None},
        a_record() | {"s3": {"bucket": {"name": 7}, "object": {"key": "k"}}},
        a_record() | {"eventTime": "yesterday"},
        a_record() | {"eventTime": None},
        a_record() | {"eventName": None},
        a_record(""),
        a_record() | {"s3": {"bucket": {"name": "b"}, "object": {"key": 7}}},
    ],
    ids=str,
)
def test_a_malformed_record_never_hides_another(record: object) -> None:
    batch = parse({"Records": [a_record("one"), record, a_record("two")]}, NOW)
    assert [c.ref.key for c in batch.changes] == ["one", "two"]
    assert len(batch.malformed) == 1
    assert batch.malformed[0].message.startswith("Records[1]: ")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ({"size": 5}, Hint(changed=True, new=True)),
        ({"size": SMALL_BYTES}, Hint(changed=True, new=True)),
        ({"size": SMALL_BYTES + 1}, Hint(changed=True, new=False)),
        ({"size": None}, Hint(changed=True, new=False)),
        ({"name": "ObjectCreated:CompleteMultipartUpload"}, Hint(changed=True, new=True)),
        ({"name": "ObjectRestore:Completed"}, LOOK_FIRST),
        ({"name": "ObjectRemoved:Delete"}, LOOK_FIRST),
        ({"time": (NOW - FRESH).isoformat()}, LOOK_FIRST),
        ({"time": (NOW - timedelta(days=3)).isoformat()}, LOOK_FIRST),
    ],
    ids=str,
)
def test_only_a_fresh_creation_lets_us_expect_something(said: dict[str, Any], hint: Hint) -> None:
    assert parse({"Records": [a_record(**said)]}, NOW).changes[0].hint == hint


@pytest.mark.parametrize("path", sorted(EVENTS.glob("s3-*.json")), ids=lambda path: path.stem)
def test_every_sample_event_of_s3_is_understood(path: Path) -> None:
    batch = parse(json.loads(path.read_text()), NOW)
    assert bool(batch.changes) != (path.stem == "s3-test-event")
    assert bool(batch.malformed) == (path.stem == "s3-put-malformed-record")


def test_the_sample_that_is_not_ours_is_refused() -> None:
    with pytest.raises(InvalidEventError):
        parse(json.loads((EVENTS / "not-ours.json").read_text()), NOW)
