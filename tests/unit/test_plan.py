"""What is decided, from what both sides hold."""

from dataclasses import replace
from datetime import timedelta

import pytest
from builders import MODIFIED, REF, a_replica, a_source

from replicate.errors import ObjectTooLargeError
from replicate.protocol.mapping import attributes
from replicate.protocol.model import Attributes, Precondition, Reason, Replica
from replicate.protocol.plan import MAX_SIZE, Copy, Delete, Done, Overwrite, Patch, Policy, decide

DEFAULT = Policy()
NEVER = Policy(overwrite=Overwrite.NEVER)
DELETES = Policy(deletes=True)


def foreign(replica: Replica, **said: object) -> Replica:
    """The same object, but nobody says where it came from."""
    unmarked: Attributes = replace(replica.attributes, metadata={}, custom_time=None)
    return replace(replica, attributes=unmarked, **said)  # type: ignore[arg-type]


def test_what_is_not_there_is_copied_on_the_condition_that_it_stays_so() -> None:
    source = a_source()
    assert decide(REF, source, None, DEFAULT) == Copy(source, attributes(source), Precondition(0))


def test_what_is_there_already_is_not_copied_again() -> None:
    assert decide(REF, a_source(), a_replica(), DEFAULT) == Done(Reason.CURRENT)


@pytest.mark.parametrize(
    "changed",
    [
        {"etag": "0" * 32},
        {"etag": "0" * 32, "size": 6},
        {"etag": "0" * 32, "version_id": "v2"},
    ],
    ids=str,
)
def test_other_bytes_replace_exactly_the_generation_that_was_seen(
    changed: dict[str, object],
) -> None:
    source = a_source(**changed)
    replica = a_replica(generation=41, metageneration=3)
    assert decide(REF, source, replica, DEFAULT) == Copy(
        source, attributes(source), Precondition(41, 3)
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"content_type": "text/html"},
        {"metadata": {"new": "value"}},
        {"last_modified": MODIFIED + timedelta(seconds=1)},
        {"version_id": "v2"},
    ],
    ids=str,
)
def test_the_same_bytes_described_otherwise_are_patched(changed: dict[str, object]) -> None:
    source, replica = a_source(**changed), a_replica()
    assert decide(REF, source, replica, DEFAULT) == Patch(attributes(source), replica)


def test_a_custom_time_never_goes_back_so_an_older_version_that_returns_is_copied() -> None:
    source = a_source(last_modified=MODIFIED - timedelta(seconds=1))
    assert isinstance(decide(REF, source, a_replica(), DEFAULT), Copy)


def test_a_replica_of_another_size_is_not_believed_whatever_its_metadata_says() -> None:
    assert isinstance(decide(REF, a_source(), a_replica(size=4), DEFAULT), Copy)


def test_equal_bytes_of_other_origin_are_adopted_where_their_md5_proves_it() -> None:
    source, replica = a_source(etag_is_md5=True), foreign(a_replica())
    assert decide(REF, source, replica, DEFAULT) == Patch(attributes(source), replica)


@pytest.mark.parametrize(
    ("etag_is_md5", "md5"),
    [(False, "XUFAKrxLKna5cZ2REBfFkg=="), (True, None), (True, "AAAAAAAAAAAAAAAAAAAAAA==")],
)
def test_bytes_of_other_origin_are_copied_when_nothing_proves_them_equal(
    *, etag_is_md5: bool, md5: str | None
) -> None:
    source = a_source(etag_is_md5=etag_is_md5)
    assert isinstance(decide(REF, source, foreign(a_replica(), md5=md5), DEFAULT), Copy)


def test_a_replica_of_another_key_is_no_proof_of_equal_bytes() -> None:
    other = a_source(ref=replace(REF, key="other"))
    assert isinstance(decide(REF, a_source(), a_replica(other), DEFAULT), Copy)


def test_with_overwrite_never_what_exists_is_left_alone() -> None:
    source = a_source(etag="0" * 32)
    assert decide(REF, source, a_replica(), NEVER) == Done(Reason.EXISTS)
    assert decide(REF, source, foreign(a_replica()), NEVER) == Done(Reason.EXISTS)
    assert isinstance(decide(REF, source, None, NEVER), Copy)


def test_without_deletes_a_source_that_is_gone_leaves_its_replica() -> None:
    assert decide(REF, None, a_replica(), DEFAULT) == Done(Reason.SOURCE_GONE)


def test_with_deletes_the_replica_goes_with_its_source() -> None:
    replica = a_replica()
    assert decide(REF, None, replica, DELETES) == Delete(replica)
    assert decide(REF, None, None, DELETES) == Done(Reason.SOURCE_GONE)


def test_nothing_is_ever_deleted_that_we_did_not_write_from_this_key() -> None:
    other = a_replica(a_source(ref=replace(REF, key="other")))
    assert decide(REF, None, foreign(a_replica()), DELETES) == Done(Reason.SOURCE_GONE)
    assert decide(REF, None, other, DELETES) == Done(Reason.SOURCE_GONE)


def test_what_gcs_cannot_hold_is_refused_before_a_byte_is_read() -> None:
    assert isinstance(decide(REF, a_source(size=MAX_SIZE), None, DEFAULT), Copy)
    with pytest.raises(ObjectTooLargeError, match="5 TiB"):
        decide(REF, a_source(size=MAX_SIZE + 1), None, DEFAULT)
