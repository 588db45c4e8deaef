"""The contract of `write_compressed` of `Destination` (replicate/protocol/ports.py)."""

from collections.abc import Callable

import pytest
from contract.gcs_http import crc32c, noise
from ports.destination_harness import DestinationHarness
from ports.test_destination import (
    FULL,
    NEW,
    OTHER,
    BytesBody,
    Moment,
    each_moment,
    failing_preconditions,
    snapshot,
    write_new,
)

from replicate.errors import (
    DestinationChangedError,
    IntegrityError,
    ReplicationError,
    SourceChangedError,
)
from replicate.protocol.model import Attributes, Precondition

MIB = 1024 * 1024
REPETITIVE = b"a line of a log, as the next one\n" * (17 * MIB // 32) + noise(7)
"""The real adapter sends it in two chunks, because a chunk has 16 MiB at most."""

NUMBERS = noise(5 * MIB + 3).hex().encode()
"""The real adapter sends it in two chunks, because a chunk has 4 MiB at most on its way."""

TINY = b"1234567890" * 20

each_kind = pytest.mark.parametrize(
    ("data", "most"),
    [(REPETITIVE, 0.05), (NUMBERS, 0.6), (TINY, 0.7)],
    ids=["repetitive", "numbers", "tiny"],
)


@each_kind
@pytest.mark.parametrize("attributes", [FULL, OTHER], ids=["full", "other"])
def test_object_is_the_uncompressed_bytes(
    gcs: DestinationHarness, data: bytes, most: float, attributes: Attributes
) -> None:
    replica, sent = gcs.destination.write_compressed(
        "name", attributes, BytesBody(data), NEW, "NEARLINE"
    )
    assert snapshot(gcs) == (replica, data)
    assert (replica.size, replica.crc32c) == (len(data), crc32c(data))
    assert replica.attributes == attributes
    assert gcs.storage_class("name") == "NEARLINE"
    assert 0 < sent < len(data) * most


def test_compressed_write_changes_nothing_when_its_precondition_does_not_hold(
    gcs: DestinationHarness,
) -> None:
    current = write_new(gcs, b"before")
    before = snapshot(gcs)
    for precondition in failing_preconditions(current):
        with pytest.raises(DestinationChangedError):
            gcs.destination.write_compressed("name", OTHER, BytesBody(TINY), precondition)
        assert snapshot(gcs) == before


@each_moment
def test_compressed_write_does_not_replace_an_object_that_appears_meanwhile(
    gcs: DestinationHarness, moment: Moment
) -> None:
    body = BytesBody(NUMBERS, moment=moment, meanwhile=lambda: gcs.put("name", b"theirs"))
    with pytest.raises(DestinationChangedError):
        gcs.destination.write_compressed("name", OTHER, body, NEW)
    assert gcs.data("name") == b"theirs"


def fail() -> None:
    raise SourceChangedError


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (lambda: BytesBody(NUMBERS, is_corrupt=True), IntegrityError),
        (lambda: BytesBody(NUMBERS, meanwhile=fail), SourceChangedError),
        (lambda: BytesBody(NUMBERS[:-1], size=len(NUMBERS)), ReplicationError),
        (lambda: BytesBody(NUMBERS[:-MIB], size=len(NUMBERS)), ReplicationError),
    ],
    ids=["corrupt", "fails", "ends in the last bytes", "ends early"],
)
@pytest.mark.parametrize("is_new", [True, False])
def test_nothing_is_visible_of_a_compressed_body_that_is_wrong(
    gcs: DestinationHarness,
    body: Callable[[], BytesBody],
    error: type[Exception],
    *,
    is_new: bool,
) -> None:
    precondition = NEW if is_new else Precondition.unchanged(write_new(gcs))
    before = snapshot(gcs)
    with pytest.raises(error):
        gcs.destination_within(2).write_compressed("name", OTHER, body(), precondition)
    assert snapshot(gcs) == before


class OtherBody(BytesBody):
    """A body of other bytes than those that GCS will have."""

    @property
    def crc32c(self) -> int:
        return super().crc32c ^ 1


def test_object_with_other_bytes_than_ours_is_deleted(gcs: DestinationHarness) -> None:
    with pytest.raises(IntegrityError):
        gcs.destination.write_compressed("name", OTHER, OtherBody(TINY), NEW)
    assert snapshot(gcs) == (None, None)
