"""The contract of `Destination` (replicate/protocol/ports.py)."""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum

import pytest
from contract.gcs_http import crc32c, noise
from fakes import PLAIN
from google_crc32c import value as crc32c_value
from ports.destination_harness import DestinationHarness
from ports.names import ODD_NAMES

from replicate.errors import (
    DestinationChangedError,
    DestinationRejectedError,
    IntegrityError,
    ReplicationError,
    SourceChangedError,
)
from replicate.protocol.checksums import encode_crc32c
from replicate.protocol.model import Attributes, Precondition, Replica

KIB, MIB = 1024, 1024 * 1024

SMALL = b"a small object"
LARGE = noise(8 * MIB + 300 * KIB + 7)
"""The real adapter uploads this in a resumable session."""

ALIGNED = noise(8 * MIB + 256 * KIB)
"""Also uploaded in a session. A multiple of 256 KiB, so the last piece is not shorter."""

each_size = pytest.mark.parametrize(
    "data", [SMALL, LARGE, ALIGNED], ids=["small", "large", "aligned"]
)

NEW = Precondition(0)

FULL = Attributes(
    content_type="text/html; charset=utf-8",
    cache_control="max-age=60, public",
    content_disposition='attachment; filename="J\u00fcrgen \U0001f600.html"',
    content_encoding="gzip",
    content_language="de, en",
    custom_time=datetime(2026, 11, 22, 14, 0, 1, 250_000, tzinfo=timezone(timedelta(hours=2))),
    metadata={
        "plain": "value",
        "empty": "",
        "CamelCase": " Spaces ",
        "J\u00fcrgen": 'line\nbreak, "quotes", \U0001f600',
    },
    contexts={"plain": "value", "J\u00fcrgen": "b\U0001f600 a=b"},
)
OTHER = Attributes(
    content_type="application/octet-stream",
    cache_control=None,
    content_disposition=None,
    content_encoding=None,
    content_language=None,
    custom_time=datetime(2026, 11, 22, 12, 0, 1, 250_000, tzinfo=UTC),
    metadata={"plain": "other value", "new": "value"},
    contexts={"plain": "other value", "new": "value"},
)


class Moment(Enum):
    """A moment during a write."""

    READING = "half of the bytes are read"
    VERIFYING = "all bytes are read but not verified"


each_moment = pytest.mark.parametrize("moment", Moment, ids=["reading", "verifying"])


class BytesBody:
    """A gated body with these bytes. At `moment` it calls `meanwhile`, once.

    `size` is the size in the description of the source.
    """

    def __init__(
        self,
        data: bytes,
        *,
        size: int | None = None,
        is_corrupt: bool = False,
        moment: Moment = Moment.READING,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self.size = len(data) if size is None else size
        self._data = data
        self._is_corrupt = is_corrupt
        self._meanwhile = {moment: meanwhile}
        self._position = 0
        self._read = 0

    def readinto(self, buffer: memoryview) -> int:
        if self._position + len(buffer) > self.size // 2:
            self._reach(Moment.READING)
        piece = self._data[self._position :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        self._read = max(self._read, self._position)
        return len(piece)

    def rewind(self, offset: int) -> None:
        self._position = offset

    def verify(self) -> None:
        self._reach(Moment.VERIFYING)
        if self._is_corrupt or self._read != self.size:
            raise IntegrityError("these are not the source's bytes")

    @property
    def crc32c(self) -> int:
        return int(crc32c_value(self._data[: self._read]))

    def is_stored_as(self, crc32c: str | None, size: int) -> bool:
        return (crc32c, size) == (encode_crc32c(self.crc32c), self.size)

    def _reach(self, moment: Moment) -> None:
        self._meanwhile.pop(moment, lambda: None)()


def write_new(
    gcs: DestinationHarness, data: bytes = SMALL, attributes: Attributes = FULL, name: str = "name"
) -> Replica:
    """Write a new object."""
    return gcs.destination.write(name, attributes, BytesBody(data), NEW)


Snapshot = tuple[Replica | None, bytes | None]


def snapshot(gcs: DestinationHarness, name: str = "name") -> Snapshot:
    """Return everything that is visible of an object."""
    return gcs.destination.head(name), gcs.data(name)


def failing_preconditions(current: Replica) -> list[Precondition]:
    """Return every kind of precondition that does not hold for `current`."""
    return [
        NEW,
        Precondition(current.generation + 1),
        Precondition(current.generation + 1, current.metageneration),
        Precondition(current.generation, current.metageneration + 1),
    ]


# Head


def test_object_is_absent_before_it_is_written(gcs: DestinationHarness) -> None:
    assert gcs.destination.head("name") is None


def test_foreign_object_is_described(gcs: DestinationHarness) -> None:
    gcs.put("name", b"123456789", {"a": "b"})
    replica = gcs.destination.head("name")
    assert replica is not None
    assert replica == Replica(
        name="name",
        generation=replica.generation,
        metageneration=1,
        size=9,
        attributes=replace(
            PLAIN, content_type=replica.attributes.content_type, metadata={"a": "b"}
        ),
        crc32c="4waSgw==",
        md5="JfnnlDI7RTiF9RgfG2JNCw==",
    )
    gcs.delete("name")
    assert gcs.destination.head("name") is None


def test_names_are_taken_literally(gcs: DestinationHarness) -> None:
    for name in ODD_NAMES:
        assert write_new(gcs, name.encode(), name=name).name == name
    contents = {}
    for name in ODD_NAMES:
        current = gcs.destination.head(name)
        assert current is not None
        assert current.name == name
        patched = gcs.destination.patch(name, replace(OTHER, metadata={"name": name}), current)
        assert patched.name == name
        contents[name] = gcs.data(name)
    assert contents == {name: name.encode() for name in ODD_NAMES}
    for name in ODD_NAMES:
        current = gcs.destination.head(name)
        assert current is not None
        assert current.attributes.metadata == {"name": name}
        gcs.destination.delete(name, Precondition.unchanged(current))
        assert gcs.data(name) is None


# Write


@pytest.mark.parametrize(
    "size",
    [
        *(0, 1),
        *(256 * KIB - 1, 256 * KIB, 256 * KIB + 1),
        *(MIB - 1, MIB, MIB + 1),
        *(8 * MIB, 8 * MIB + 1, 8 * MIB + 256 * KIB, 8 * MIB + 256 * KIB + 1),
    ],
)
def test_bytes_of_any_size_are_written(gcs: DestinationHarness, size: int) -> None:
    data = noise(size)
    replica = write_new(gcs, data)
    assert (replica.size, replica.crc32c) == (size, crc32c(data))
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    assert replica.md5 == b64encode(md5).decode()
    assert snapshot(gcs) == (replica, data)


@each_size
@pytest.mark.parametrize(
    "attributes",
    [
        FULL,
        OTHER,
        replace(PLAIN, content_type="application/octet-stream"),
        replace(PLAIN, metadata={f"key-{n}": "\u00e9" * 100 for n in range(30)}),
        replace(PLAIN, custom_time=datetime(1970, 1, 1, tzinfo=UTC)),
    ],
    ids=["full", "other", "empty", "long", "epoch"],
)
def test_attributes_are_written_exactly(
    gcs: DestinationHarness, data: bytes, attributes: Attributes
) -> None:
    replica = write_new(gcs, data, attributes)
    assert replica.attributes == attributes
    assert gcs.destination.head("name") == replica


@each_size
def test_overwrite_replaces_bytes_and_attributes(gcs: DestinationHarness, data: bytes) -> None:
    before = write_new(gcs, b"before", FULL)
    after = gcs.destination.write(
        "name", OTHER, BytesBody(data), Precondition.unchanged(before), "NEARLINE"
    )
    assert after.generation != before.generation
    assert after.metageneration == 1
    assert after.attributes == OTHER
    assert snapshot(gcs) == (after, data)


@each_size
def test_overwrite_on_the_generation_alone_ignores_patches(
    gcs: DestinationHarness, data: bytes
) -> None:
    before = write_new(gcs)
    gcs.patch("name", {"a": "b"})
    after = gcs.destination.write("name", OTHER, BytesBody(data), Precondition(before.generation))
    assert snapshot(gcs) == (after, data)


@each_size
def test_write_changes_nothing_when_its_precondition_does_not_hold(
    gcs: DestinationHarness, data: bytes
) -> None:
    current = write_new(gcs, b"before")
    before = snapshot(gcs)
    for precondition in failing_preconditions(current):
        with pytest.raises(DestinationChangedError):
            gcs.destination.write("name", OTHER, BytesBody(data), precondition)
        assert snapshot(gcs) == before


@each_size
@pytest.mark.parametrize("metageneration", [None, 1])
def test_overwrite_creates_nothing_when_the_object_is_gone(
    gcs: DestinationHarness, data: bytes, metageneration: int | None
) -> None:
    current = write_new(gcs)
    gcs.delete("name")
    with pytest.raises(DestinationChangedError):
        gcs.destination.write(
            "name", OTHER, BytesBody(data), Precondition(current.generation, metageneration)
        )
    assert snapshot(gcs) == (None, None)


@each_size
def test_write_fails_when_it_names_a_metageneration_of_an_absent_object(
    gcs: DestinationHarness, data: bytes
) -> None:
    with pytest.raises(DestinationChangedError):
        gcs.destination.write("name", OTHER, BytesBody(data), Precondition(0, 1))
    assert snapshot(gcs) == (None, None)


@each_size
@each_moment
def test_new_object_does_not_replace_one_that_appears_meanwhile(
    gcs: DestinationHarness, data: bytes, moment: Moment
) -> None:
    body = BytesBody(data, moment=moment, meanwhile=lambda: gcs.put("name", b"theirs"))
    with pytest.raises(DestinationChangedError):
        gcs.destination.write("name", OTHER, body, NEW)
    assert gcs.data("name") == b"theirs"


@each_size
@each_moment
def test_overwrite_does_not_replace_an_object_that_changes_meanwhile(
    gcs: DestinationHarness, data: bytes, moment: Moment
) -> None:
    changes: list[tuple[Callable[[], None], bytes | None]] = [
        (lambda: gcs.put("name", b"theirs"), b"theirs"),
        (lambda: gcs.patch("name", {"a": "b"}), b"theirs"),
        (lambda: gcs.delete("name"), None),
    ]
    current = write_new(gcs)
    for change, left in changes:
        body = BytesBody(data, moment=moment, meanwhile=change)
        with pytest.raises(DestinationChangedError):
            gcs.destination.write("name", OTHER, body, Precondition.unchanged(current))
        assert gcs.data("name") == left
        current = gcs.destination.head("name") or current


@each_size
@pytest.mark.parametrize("is_new", [True, False])
def test_nothing_is_visible_when_the_bytes_are_corrupt(
    gcs: DestinationHarness, data: bytes, *, is_new: bool
) -> None:
    precondition = NEW if is_new else Precondition.unchanged(write_new(gcs))
    before = snapshot(gcs)
    with pytest.raises(IntegrityError):
        gcs.destination.write("name", OTHER, BytesBody(data, is_corrupt=True), precondition)
    assert snapshot(gcs) == before


@each_size
def test_nothing_is_visible_when_the_body_fails(gcs: DestinationHarness, data: bytes) -> None:
    def fail() -> None:
        raise SourceChangedError

    with pytest.raises(SourceChangedError):
        gcs.destination.write("name", OTHER, BytesBody(data, meanwhile=fail), NEW)
    assert snapshot(gcs) == (None, None)


@pytest.mark.parametrize(
    ("data", "missing"),
    [(SMALL, 1), (LARGE, 1), (LARGE, MIB)],
    ids=["small", "large, in the last bytes", "large"],
)
def test_nothing_is_visible_when_the_body_ends_early(
    gcs: DestinationHarness, data: bytes, missing: int
) -> None:
    """No source does that, so any ReplicationError is accepted."""
    body = BytesBody(data[:-missing], size=len(data))
    with pytest.raises(ReplicationError):
        gcs.destination_within(2).write("name", OTHER, body, NEW)
    assert snapshot(gcs) == (None, None)


@each_size
@each_moment
def test_object_is_as_before_until_all_bytes_are_verified(
    gcs: DestinationHarness, data: bytes, moment: Moment
) -> None:
    snapshots = []
    current = write_new(gcs, b"before")
    body = BytesBody(data, moment=moment, meanwhile=lambda: snapshots.append(snapshot(gcs)))
    after = gcs.destination.write("name", OTHER, body, Precondition.unchanged(current))
    assert snapshots == [(current, b"before")]
    assert snapshot(gcs) == (after, data)


@each_size
def test_storage_class_is_the_requested_one(gcs: DestinationHarness, data: bytes) -> None:
    cold = gcs.destination.write("name", FULL, BytesBody(data), NEW, "COLDLINE")
    assert gcs.storage_class("name") == "COLDLINE"
    gcs.destination.patch("name", OTHER, cold)
    assert gcs.storage_class("name") == "COLDLINE"
    current = gcs.destination.head("name")
    assert current
    gcs.destination.write("name", FULL, BytesBody(data), Precondition.unchanged(current))
    assert gcs.storage_class("name") == "STANDARD"


# Patch


def test_patch_replaces_the_attributes_and_keeps_the_bytes(gcs: DestinationHarness) -> None:
    before = write_new(gcs)
    after = gcs.destination.patch("name", OTHER, before)
    assert after == replace(before, attributes=OTHER, metageneration=before.metageneration + 1)
    assert snapshot(gcs) == (after, SMALL)


@pytest.mark.parametrize(
    "attributes",
    [
        replace(FULL, metadata={}, contexts={}),
        replace(FULL, metadata={"plain": "value"}),
        replace(FULL, contexts={"plain": "value"}),
        replace(FULL, contexts={**FULL.contexts, "new": "value"}),
        replace(FULL, cache_control="no-store", content_language=None),
        replace(FULL, custom_time=datetime(2027, 1, 1, tzinfo=UTC)),
        FULL,
    ],
    ids=["nothing", "metadata", "contexts", "more contexts", "headers", "time", "the same"],
)
def test_patch_leaves_exactly_the_given_attributes(
    gcs: DestinationHarness, attributes: Attributes
) -> None:
    after = gcs.destination.patch("name", attributes, write_new(gcs))
    assert after.attributes == attributes
    assert gcs.destination.head("name") == after


def test_patch_adds_attributes_where_there_are_none(gcs: DestinationHarness) -> None:
    gcs.put("name", SMALL)
    before = gcs.destination.head("name")
    assert before is not None
    after = gcs.destination.patch("name", FULL, before)
    assert after == replace(before, attributes=FULL, metageneration=2)
    assert gcs.destination.head("name") == after


def test_patches_follow_each_other(gcs: DestinationHarness) -> None:
    first = write_new(gcs)
    second = gcs.destination.patch("name", OTHER, first)
    third = gcs.destination.patch("name", FULL, second)
    assert third == replace(first, metageneration=3)


def test_patch_changes_nothing_when_the_object_was_overwritten(gcs: DestinationHarness) -> None:
    current = write_new(gcs)
    gcs.put("name", SMALL)
    before = snapshot(gcs)
    with pytest.raises(DestinationChangedError):
        gcs.destination.patch("name", OTHER, current)
    assert snapshot(gcs) == before


def test_patch_changes_nothing_when_the_object_was_patched(gcs: DestinationHarness) -> None:
    current = write_new(gcs)
    gcs.patch("name", {"a": "b"})
    before = snapshot(gcs)
    with pytest.raises(DestinationChangedError):
        gcs.destination.patch("name", OTHER, current)
    assert snapshot(gcs) == before


def test_patch_creates_nothing_when_the_object_is_gone(gcs: DestinationHarness) -> None:
    current = write_new(gcs)
    gcs.delete("name")
    with pytest.raises(DestinationChangedError):
        gcs.destination.patch("name", OTHER, current)
    assert snapshot(gcs) == (None, None)


@pytest.mark.parametrize("custom_time", [None, datetime(2026, 11, 21, tzinfo=UTC)])
def test_patch_cannot_set_the_custom_time_back(
    gcs: DestinationHarness, custom_time: datetime | None
) -> None:
    current = write_new(gcs)
    before = snapshot(gcs)
    with pytest.raises(DestinationRejectedError):
        gcs.destination.patch("name", replace(OTHER, custom_time=custom_time), current)
    assert snapshot(gcs) == before


def test_overwrite_can_set_the_custom_time_back(gcs: DestinationHarness) -> None:
    current = write_new(gcs)
    after = gcs.destination.write("name", PLAIN, BytesBody(SMALL), Precondition.unchanged(current))
    assert after.attributes.custom_time is None


# Delete


@pytest.mark.parametrize("states_metageneration", [False, True])
def test_object_is_deleted_when_it_is_unchanged(
    gcs: DestinationHarness, *, states_metageneration: bool
) -> None:
    current = write_new(gcs)
    metageneration = current.metageneration if states_metageneration else None
    gcs.destination.delete("name", Precondition(current.generation, metageneration))
    assert snapshot(gcs) == (None, None)


def test_object_is_kept_when_the_precondition_does_not_hold(gcs: DestinationHarness) -> None:
    current = write_new(gcs)
    before = snapshot(gcs)
    for precondition in failing_preconditions(current):
        with pytest.raises(DestinationChangedError):
            gcs.destination.delete("name", precondition)
        assert snapshot(gcs) == before


def test_object_is_kept_when_it_was_patched(gcs: DestinationHarness) -> None:
    current = write_new(gcs)
    gcs.patch("name", {"a": "b"})
    with pytest.raises(DestinationChangedError):
        gcs.destination.delete("name", Precondition.unchanged(current))
    assert gcs.data("name") == SMALL


def test_deleting_an_absent_object_succeeds(gcs: DestinationHarness) -> None:
    current = write_new(gcs)
    gcs.delete("name")
    for precondition in (NEW, *failing_preconditions(current), Precondition.unchanged(current)):
        gcs.destination.delete("name", precondition)
    assert snapshot(gcs) == (None, None)


def test_generation_is_never_used_again(gcs: DestinationHarness) -> None:
    first = write_new(gcs)
    gcs.destination.delete("name", Precondition.unchanged(first))
    second = write_new(gcs)
    assert second.generation > first.generation
