"""The contract of `Destination` (replicate/ports.py)."""

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
from ports.destination_world import DestinationWorld
from ports.names import ODD_NAMES

from replicate.errors import (
    DestinationChangedError,
    DestinationRejectedError,
    IntegrityError,
    ReplicationError,
    SourceChangedError,
)
from replicate.protocol.model import Attributes, Precondition, Replica

KIB, MIB = 1024, 1024 * 1024

SMALL = b"a small object"
LARGE = noise(8 * MIB + 300 * KIB + 7)
"""The real adapter uploads this in a resumable session."""

ALIGNED = noise(8 * MIB + 256 * KIB)
"""As large, and a multiple of 256 KiB: there is no shorter piece at the end."""

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
    """When something else happens during a write."""

    READING = "half of the bytes are read"
    VERIFYING = "all bytes are read and are to be verified"


each_moment = pytest.mark.parametrize("moment", Moment, ids=["reading", "verifying"])


class GivenBody:
    """A checked body with these bytes. At `moment` it calls `meanwhile`, once.

    `size` is what the source says its size is.
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
            self._come_to(Moment.READING)
        piece = self._data[self._position :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        self._read = max(self._read, self._position)
        return len(piece)

    def rewind(self, offset: int) -> None:
        self._position = offset

    def verify(self) -> None:
        self._come_to(Moment.VERIFYING)
        if self._is_corrupt or self._read != self.size:
            raise IntegrityError("these are not the source's bytes")

    @property
    def crc32c(self) -> int:
        return int(crc32c_value(self._data[: self._read]))

    def _come_to(self, moment: Moment) -> None:
        self._meanwhile.pop(moment, lambda: None)()


def written(
    gcs: DestinationWorld, data: bytes = SMALL, attributes: Attributes = FULL, name: str = "name"
) -> Replica:
    """Write a new object."""
    return gcs.destination.write(name, attributes, GivenBody(data), NEW)


Snapshot = tuple[Replica | None, bytes | None]


def snapshot(gcs: DestinationWorld, name: str = "name") -> Snapshot:
    """Return all that is visible of an object."""
    return gcs.destination.head(name), gcs.data(name)


def conditions(current: Replica) -> list[Precondition]:
    """Return every kind of precondition that does not hold for `current`."""
    return [
        NEW,
        Precondition(current.generation + 1),
        Precondition(current.generation + 1, current.metageneration),
        Precondition(current.generation, current.metageneration + 1),
    ]


# Head


def test_there_is_no_object_before_one_is_written(gcs: DestinationWorld) -> None:
    assert gcs.destination.head("name") is None


def test_an_object_of_somebody_else_is_described(gcs: DestinationWorld) -> None:
    gcs.put("name", b"123456789", {"a": "b"})
    found = gcs.destination.head("name")
    assert found is not None
    assert found == Replica(
        name="name",
        generation=found.generation,
        metageneration=1,
        size=9,
        attributes=replace(PLAIN, content_type=found.attributes.content_type, metadata={"a": "b"}),
        crc32c="4waSgw==",
        md5="JfnnlDI7RTiF9RgfG2JNCw==",
    )
    gcs.delete("name")
    assert gcs.destination.head("name") is None


def test_names_are_taken_literally(gcs: DestinationWorld) -> None:
    for name in ODD_NAMES:
        assert written(gcs, name.encode(), name=name).name == name
    found = {}
    for name in ODD_NAMES:
        current = gcs.destination.head(name)
        assert current is not None
        assert current.name == name
        patched = gcs.destination.patch(name, replace(OTHER, metadata={"name": name}), current)
        assert patched.name == name
        found[name] = gcs.data(name)
    assert found == {name: name.encode() for name in ODD_NAMES}
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
def test_bytes_of_any_size_are_written(gcs: DestinationWorld, size: int) -> None:
    data = noise(size)
    replica = written(gcs, data)
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
    gcs: DestinationWorld, data: bytes, attributes: Attributes
) -> None:
    replica = written(gcs, data, attributes)
    assert replica.attributes == attributes
    assert gcs.destination.head("name") == replica


@each_size
def test_an_overwrite_replaces_bytes_and_attributes(gcs: DestinationWorld, data: bytes) -> None:
    before = written(gcs, b"before", FULL)
    after = gcs.destination.write(
        "name", OTHER, GivenBody(data), Precondition.unchanged(before), "NEARLINE"
    )
    assert after.generation != before.generation
    assert after.metageneration == 1
    assert after.attributes == OTHER
    assert snapshot(gcs) == (after, data)


@each_size
def test_an_overwrite_on_the_generation_alone_ignores_patches(
    gcs: DestinationWorld, data: bytes
) -> None:
    before = written(gcs)
    gcs.patch("name", {"a": "b"})
    after = gcs.destination.write("name", OTHER, GivenBody(data), Precondition(before.generation))
    assert snapshot(gcs) == (after, data)


@each_size
def test_a_write_changes_nothing_when_its_precondition_does_not_hold(
    gcs: DestinationWorld, data: bytes
) -> None:
    current = written(gcs, b"before")
    before = snapshot(gcs)
    for condition in conditions(current):
        with pytest.raises(DestinationChangedError):
            gcs.destination.write("name", OTHER, GivenBody(data), condition)
        assert snapshot(gcs) == before


@each_size
@pytest.mark.parametrize("metageneration", [None, 1])
def test_an_overwrite_creates_nothing_when_the_object_is_gone(
    gcs: DestinationWorld, data: bytes, metageneration: int | None
) -> None:
    current = written(gcs)
    gcs.delete("name")
    with pytest.raises(DestinationChangedError):
        gcs.destination.write(
            "name", OTHER, GivenBody(data), Precondition(current.generation, metageneration)
        )
    assert snapshot(gcs) == (None, None)


@each_size
def test_a_metageneration_is_never_that_of_an_object_that_is_absent(
    gcs: DestinationWorld, data: bytes
) -> None:
    with pytest.raises(DestinationChangedError):
        gcs.destination.write("name", OTHER, GivenBody(data), Precondition(0, 1))
    assert snapshot(gcs) == (None, None)


@each_size
@each_moment
def test_a_new_object_replaces_none_that_appears_meanwhile(
    gcs: DestinationWorld, data: bytes, moment: Moment
) -> None:
    body = GivenBody(data, moment=moment, meanwhile=lambda: gcs.put("name", b"theirs"))
    with pytest.raises(DestinationChangedError):
        gcs.destination.write("name", OTHER, body, NEW)
    assert gcs.data("name") == b"theirs"


@each_size
@each_moment
def test_an_overwrite_replaces_nothing_that_changes_meanwhile(
    gcs: DestinationWorld, data: bytes, moment: Moment
) -> None:
    changes: list[tuple[Callable[[], None], bytes | None]] = [
        (lambda: gcs.put("name", b"theirs"), b"theirs"),
        (lambda: gcs.patch("name", {"a": "b"}), b"theirs"),
        (lambda: gcs.delete("name"), None),
    ]
    current = written(gcs)
    for change, left in changes:
        body = GivenBody(data, moment=moment, meanwhile=change)
        with pytest.raises(DestinationChangedError):
            gcs.destination.write("name", OTHER, body, Precondition.unchanged(current))
        assert gcs.data("name") == left
        current = gcs.destination.head("name") or current


@each_size
@pytest.mark.parametrize("is_new", [True, False])
def test_nothing_is_visible_when_the_bytes_are_not_the_source_s(
    gcs: DestinationWorld, data: bytes, *, is_new: bool
) -> None:
    condition = NEW if is_new else Precondition.unchanged(written(gcs))
    before = snapshot(gcs)
    with pytest.raises(IntegrityError):
        gcs.destination.write("name", OTHER, GivenBody(data, is_corrupt=True), condition)
    assert snapshot(gcs) == before


@each_size
def test_nothing_is_visible_when_the_body_fails(gcs: DestinationWorld, data: bytes) -> None:
    def fail() -> None:
        raise SourceChangedError

    with pytest.raises(SourceChangedError):
        gcs.destination.write("name", OTHER, GivenBody(data, meanwhile=fail), NEW)
    assert snapshot(gcs) == (None, None)


@pytest.mark.parametrize(
    ("data", "missing"),
    [(SMALL, 1), (LARGE, 1), (LARGE, MIB)],
    ids=["small", "large, in the last bytes", "large"],
)
def test_nothing_is_visible_when_the_body_ends_early(
    gcs: DestinationWorld, data: bytes, missing: int
) -> None:
    """No source does that, so any failure will do."""
    body = GivenBody(data[:-missing], size=len(data))
    with pytest.raises(ReplicationError):
        gcs.destination_within(2).write("name", OTHER, body, NEW)
    assert snapshot(gcs) == (None, None)


@each_size
@each_moment
def test_the_object_is_as_before_until_all_bytes_are_verified(
    gcs: DestinationWorld, data: bytes, moment: Moment
) -> None:
    seen = []
    current = written(gcs, b"before")
    body = GivenBody(data, moment=moment, meanwhile=lambda: seen.append(snapshot(gcs)))
    after = gcs.destination.write("name", OTHER, body, Precondition.unchanged(current))
    assert seen == [(current, b"before")]
    assert snapshot(gcs) == (after, data)


@each_size
def test_the_storage_class_is_the_one_that_is_asked_for(gcs: DestinationWorld, data: bytes) -> None:
    cold = gcs.destination.write("name", FULL, GivenBody(data), NEW, "COLDLINE")
    assert gcs.storage_class("name") == "COLDLINE"
    gcs.destination.patch("name", OTHER, cold)
    assert gcs.storage_class("name") == "COLDLINE"
    current = gcs.destination.head("name")
    gcs.destination.write("name", FULL, GivenBody(data), Precondition.unchanged(current))
    assert gcs.storage_class("name") == "STANDARD"


# Patch


def test_a_patch_replaces_the_attributes_and_keeps_the_bytes(gcs: DestinationWorld) -> None:
    before = written(gcs)
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
def test_a_patch_leaves_exactly_the_given_attributes(
    gcs: DestinationWorld, attributes: Attributes
) -> None:
    after = gcs.destination.patch("name", attributes, written(gcs))
    assert after.attributes == attributes
    assert gcs.destination.head("name") == after


def test_a_patch_adds_attributes_where_there_are_none(gcs: DestinationWorld) -> None:
    gcs.put("name", SMALL)
    before = gcs.destination.head("name")
    assert before is not None
    after = gcs.destination.patch("name", FULL, before)
    assert after == replace(before, attributes=FULL, metageneration=2)
    assert gcs.destination.head("name") == after


def test_patches_follow_each_other(gcs: DestinationWorld) -> None:
    first = written(gcs)
    second = gcs.destination.patch("name", OTHER, first)
    third = gcs.destination.patch("name", FULL, second)
    assert third == replace(first, metageneration=3)


def test_a_patch_changes_nothing_when_the_object_was_overwritten(gcs: DestinationWorld) -> None:
    current = written(gcs)
    gcs.put("name", SMALL)
    before = snapshot(gcs)
    with pytest.raises(DestinationChangedError):
        gcs.destination.patch("name", OTHER, current)
    assert snapshot(gcs) == before


def test_a_patch_changes_nothing_when_the_object_was_patched(gcs: DestinationWorld) -> None:
    current = written(gcs)
    gcs.patch("name", {"a": "b"})
    before = snapshot(gcs)
    with pytest.raises(DestinationChangedError):
        gcs.destination.patch("name", OTHER, current)
    assert snapshot(gcs) == before


def test_a_patch_creates_nothing_when_the_object_is_gone(gcs: DestinationWorld) -> None:
    current = written(gcs)
    gcs.delete("name")
    with pytest.raises(DestinationChangedError):
        gcs.destination.patch("name", OTHER, current)
    assert snapshot(gcs) == (None, None)


@pytest.mark.parametrize("custom_time", [None, datetime(2026, 11, 21, tzinfo=UTC)])
def test_a_patch_cannot_set_the_custom_time_back(
    gcs: DestinationWorld, custom_time: datetime | None
) -> None:
    current = written(gcs)
    before = snapshot(gcs)
    with pytest.raises(DestinationRejectedError):
        gcs.destination.patch("name", replace(OTHER, custom_time=custom_time), current)
    assert snapshot(gcs) == before


def test_an_overwrite_can_set_the_custom_time_back(gcs: DestinationWorld) -> None:
    current = written(gcs)
    after = gcs.destination.write("name", PLAIN, GivenBody(SMALL), Precondition.unchanged(current))
    assert after.attributes.custom_time is None


# Delete


@pytest.mark.parametrize("states_metageneration", [False, True])
def test_an_object_is_deleted_when_it_is_unchanged(
    gcs: DestinationWorld, *, states_metageneration: bool
) -> None:
    current = written(gcs)
    metageneration = current.metageneration if states_metageneration else None
    gcs.destination.delete("name", Precondition(current.generation, metageneration))
    assert snapshot(gcs) == (None, None)


def test_an_object_is_kept_when_the_precondition_does_not_hold(gcs: DestinationWorld) -> None:
    current = written(gcs)
    before = snapshot(gcs)
    for condition in conditions(current):
        with pytest.raises(DestinationChangedError):
            gcs.destination.delete("name", condition)
        assert snapshot(gcs) == before


def test_an_object_is_kept_when_it_was_patched(gcs: DestinationWorld) -> None:
    current = written(gcs)
    gcs.patch("name", {"a": "b"})
    with pytest.raises(DestinationChangedError):
        gcs.destination.delete("name", Precondition.unchanged(current))
    assert gcs.data("name") == SMALL


def test_deleting_what_is_gone_is_no_error(gcs: DestinationWorld) -> None:
    current = written(gcs)
    gcs.delete("name")
    for condition in (NEW, *conditions(current), Precondition.unchanged(current)):
        gcs.destination.delete("name", condition)
    assert snapshot(gcs) == (None, None)


def test_a_generation_is_never_used_again(gcs: DestinationWorld) -> None:
    first = written(gcs)
    gcs.destination.delete("name", Precondition.unchanged(first))
    second = written(gcs)
    assert second.generation > first.generation
