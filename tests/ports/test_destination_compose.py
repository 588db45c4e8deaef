"""The contract of `compose` and `list_prefix` of `Destination` (replicate/protocol/ports.py)."""

from collections.abc import Sequence

import pytest
from contract.gcs_http import crc32c
from ports.destination_harness import DestinationHarness
from ports.names import ODD_NAMES
from ports.test_destination import FULL, NEW, OTHER, BytesBody, failing_preconditions, snapshot

from replicate.errors import ComponentGoneError, DestinationChangedError, ReplicationError
from replicate.protocol.model import Precondition, Replica

PARTS = (b"one ", b"two ", b"three")


def stage(
    gcs: DestinationHarness, *parts: bytes, prefix: str = "parts/", storage_class: str | None = None
) -> list[Replica]:
    """Write one object for each part, and describe them in order."""
    return [
        gcs.destination.write(f"{prefix}{n}", OTHER, BytesBody(part), NEW, storage_class)
        for n, part in enumerate(parts)
    ]


def names(replicas: Sequence[Replica]) -> list[str]:
    return [replica.name for replica in replicas]


def test_compose_joins_the_bytes_in_order_and_deletes_the_sources(gcs: DestinationHarness) -> None:
    parts = stage(gcs, *PARTS)
    composed = gcs.destination.compose("name", FULL, [parts[1], parts[0], parts[2]], NEW)
    assert snapshot(gcs) == (composed, b"two one three")
    assert composed.attributes == FULL
    assert (composed.size, composed.metageneration, composed.md5) == (13, 1, None)
    assert composed.crc32c == crc32c(b"two one three")
    assert list(gcs.destination.list_prefix("parts/")) == []


def test_compose_of_one_source_is_a_move(gcs: DestinationHarness) -> None:
    (part,) = stage(gcs, b"alone")
    composed = gcs.destination.compose("name", FULL, [part], NEW)
    assert snapshot(gcs) == (composed, b"alone")
    assert gcs.data(part.name) is None


def test_composed_objects_can_be_composed(gcs: DestinationHarness) -> None:
    first = gcs.destination.compose("first", FULL, stage(gcs, *PARTS), NEW)
    (second,) = stage(gcs, b" four")
    composed = gcs.destination.compose("name", OTHER, [first, second], NEW)
    assert snapshot(gcs) == (composed, b"one two three four")


def test_compose_overwrites_exactly_the_object_of_its_precondition(gcs: DestinationHarness) -> None:
    before = gcs.destination.write("name", FULL, BytesBody(b"before"), NEW)
    composed = gcs.destination.compose(
        "name", OTHER, stage(gcs, *PARTS), Precondition.unchanged(before)
    )
    assert composed.generation != before.generation
    assert snapshot(gcs) == (composed, b"one two three")


def test_compose_changes_nothing_when_its_precondition_does_not_hold(
    gcs: DestinationHarness,
) -> None:
    current = gcs.destination.write("name", FULL, BytesBody(b"before"), NEW)
    parts, before = stage(gcs, *PARTS), snapshot(gcs)
    for precondition in failing_preconditions(current):
        with pytest.raises(DestinationChangedError):
            gcs.destination.compose("name", OTHER, parts, precondition)
        assert snapshot(gcs) == before
        assert list(gcs.destination.list_prefix("parts/")) == parts


@pytest.mark.parametrize("number", range(len(PARTS)))
def test_compose_changes_nothing_when_a_source_is_gone(
    gcs: DestinationHarness, number: int
) -> None:
    parts = stage(gcs, *PARTS)
    gcs.delete(parts[number].name)
    with pytest.raises(ComponentGoneError):
        gcs.destination.compose("name", FULL, parts, NEW)
    assert snapshot(gcs) == (None, None)
    assert len(list(gcs.destination.list_prefix("parts/"))) == len(PARTS) - 1


@pytest.mark.parametrize("number", range(len(PARTS)))
def test_compose_changes_nothing_when_a_source_was_overwritten(
    gcs: DestinationHarness, number: int
) -> None:
    parts = stage(gcs, *PARTS)
    gcs.put(parts[number].name, b"newer")
    with pytest.raises(ComponentGoneError):
        gcs.destination.compose("name", FULL, parts, NEW)
    assert snapshot(gcs) == (None, None)
    assert gcs.data(parts[number].name) == b"newer"
    assert len(list(gcs.destination.list_prefix("parts/"))) == len(PARTS)


def test_composed_object_has_the_class_of_its_sources(gcs: DestinationHarness) -> None:
    parts = stage(gcs, *PARTS, storage_class="COLDLINE")
    gcs.destination.compose("name", FULL, parts, NEW, "COLDLINE")
    assert gcs.storage_class("name") == "COLDLINE"


def test_compose_of_several_classes_is_refused(gcs: DestinationHarness) -> None:
    parts = stage(gcs, b"cold", storage_class="COLDLINE") + stage(gcs, b"warm", prefix="warm/")
    with pytest.raises(ReplicationError):
        gcs.destination.compose("name", FULL, parts, NEW)
    assert snapshot(gcs) == (None, None)
    assert len(list(gcs.destination.list_prefix(""))) == 2


def test_compose_takes_32_sources_and_no_more(gcs: DestinationHarness) -> None:
    parts = stage(gcs, *[bytes([n]) for n in range(33)])
    with pytest.raises(ReplicationError):
        gcs.destination.compose("name", FULL, parts, NEW)
    assert snapshot(gcs) == (None, None)
    assert len(list(gcs.destination.list_prefix("parts/"))) == 33
    composed = gcs.destination.compose("name", FULL, parts[:32], NEW)
    assert snapshot(gcs) == (composed, bytes(range(32)))
    assert names(list(gcs.destination.list_prefix("parts/"))) == ["parts/32"]


def test_list_prefix_describes_the_objects_as_head_does(gcs: DestinationHarness) -> None:
    for name in ("a", "a/", "a/b", "a/b/c", "ab", "b/a"):
        gcs.put(name, name.encode(), {"name": name})
    found = list(gcs.destination.list_prefix("a/"))
    assert names(found) == ["a/", "a/b", "a/b/c"]
    assert found == [gcs.destination.head(name) for name in names(found)]
    assert list(gcs.destination.list_prefix("c")) == []


def test_list_prefix_takes_prefixes_literally(gcs: DestinationHarness) -> None:
    prefixes = [name for name in ODD_NAMES if len(name.encode()) < 1000]
    for prefix in prefixes:
        gcs.put(f"{prefix}!", b"1")
    for prefix in prefixes:
        assert f"{prefix}!" in names(list(gcs.destination.list_prefix(prefix)))
        assert names(list(gcs.destination.list_prefix(f"{prefix}!"))) == [f"{prefix}!"]
