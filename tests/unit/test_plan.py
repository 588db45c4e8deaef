"""`decide` chooses the action from the source and the replica."""

from dataclasses import replace
from datetime import timedelta

import pytest
from builders import MODIFIED, REF, make_replica, make_source

from replicate.errors import DestinationForeignError, ObjectTooLargeError, SourceArchivedError
from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import attributes
from replicate.protocol.model import (
    Attributes,
    Checksum,
    EtagKind,
    Precondition,
    Reason,
    Replica,
    SourceRef,
)
from replicate.protocol.plan import Copy, Delete, Done, Overwrite, Patch, Policy, decide

DEFAULT = Policy()
NEVER = Policy(overwrite=Overwrite.NEVER)
OWN = Policy(overwrite=Overwrite.OWN)
DELETES = Policy(deletes=Deletes.ALL)


def foreign(replica: Replica, **fields: object) -> Replica:
    """Return the same object without provenance."""
    unmarked: Attributes = replace(replica.attributes, metadata={}, custom_time=None)
    return replace(replica, attributes=unmarked, **fields)  # type: ignore[arg-type]


def test_absent_object_is_copied_with_precondition_zero() -> None:
    source = make_source()
    assert decide(REF, source, None, DEFAULT) == Copy(source, attributes(source), Precondition(0))


def test_current_replica_is_not_copied_again() -> None:
    assert decide(REF, make_source(), make_replica(), DEFAULT) == Done(Reason.CURRENT)


@pytest.mark.parametrize(
    "changed",
    [
        {"etag": "0" * 32},
        {"etag": "0" * 32, "size": 6},
        {"etag": "0" * 32, "version_id": "v2"},
    ],
    ids=str,
)
def test_changed_bytes_are_copied_with_the_precondition_of_the_replica(
    changed: dict[str, object],
) -> None:
    source = make_source(**changed)
    replica = make_replica(generation=41, metageneration=3)
    assert decide(REF, source, replica, DEFAULT) == Copy(
        source, attributes(source), Precondition(41, 3), Reason.OVERWRITTEN
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
def test_replica_is_patched_when_only_the_description_changed(changed: dict[str, object]) -> None:
    source, replica = make_source(**changed), make_replica()
    assert decide(REF, source, replica, DEFAULT) == Patch(attributes(source), replica)


def test_older_version_is_copied_because_custom_time_cannot_be_set_back() -> None:
    source = make_source(last_modified=MODIFIED - timedelta(seconds=1))
    assert isinstance(decide(REF, source, make_replica(), DEFAULT), Copy)


def test_replica_of_another_size_is_copied_again() -> None:
    assert isinstance(decide(REF, make_source(), make_replica(size=4), DEFAULT), Copy)


def test_foreign_object_is_patched_when_its_md5_is_equal() -> None:
    source, replica = make_source(etag_kind=EtagKind.MD5), foreign(make_replica())
    assert decide(REF, source, replica, DEFAULT) == Patch(attributes(source), replica)


@pytest.mark.parametrize(
    ("etag_kind", "md5"),
    [
        (EtagKind.OPAQUE, "XUFAKrxLKna5cZ2REBfFkg=="),
        (EtagKind.MD5, None),
        (EtagKind.MD5, "AAAAAAAAAAAAAAAAAAAAAA=="),
    ],
)
def test_foreign_object_is_overwritten_when_its_md5_does_not_prove_equality(
    etag_kind: EtagKind, md5: str | None
) -> None:
    source = make_source(etag_kind=etag_kind)
    assert isinstance(decide(REF, source, foreign(make_replica(), md5=md5), DEFAULT), Copy)


@pytest.mark.parametrize("ref", [replace(REF, key="other"), replace(REF, bucket="other")])
def test_replica_of_another_object_is_overwritten(ref: SourceRef) -> None:
    """Two stacks that write to the same names overwrite each other's replicas."""
    other = make_source(ref=ref)
    plan = decide(REF, make_source(), make_replica(other), DEFAULT)
    assert isinstance(plan, Copy)
    assert plan.reason is Reason.FOREIGN_OVERWRITTEN


def test_only_replicas_of_this_object_are_overwritten_when_overwrite_is_own() -> None:
    source, replica = make_source(etag="0" * 32), make_replica()
    assert isinstance(decide(REF, source, None, OWN), Copy)
    assert isinstance(decide(REF, source, replica, OWN), Copy)
    assert decide(REF, make_source(), replica, OWN) == Done(Reason.CURRENT)
    others = [
        foreign(replica),
        make_replica(make_source(ref=replace(REF, key="other"))),
        make_replica(make_source(ref=replace(REF, bucket="other"))),
    ]
    for other in others:
        with pytest.raises(DestinationForeignError, match="not a replica of s3://source/key"):
            decide(REF, make_source(etag_kind=EtagKind.MD5), other, OWN)


STATED: dict[str, dict[str, object]] = {
    "MD5": {"etag_kind": EtagKind.MD5},
    "CRC32C": {"checksums": (Checksum("CRC32", "AAAAAA=="), Checksum("CRC32C", "mnG7TA=="))},
}
OTHER_BYTES: dict[str, dict[str, object]] = {
    "MD5": {"md5": "AAAAAAAAAAAAAAAAAAAAAA=="},
    "CRC32C": {"crc32c": "AAAAAA=="},
}


@pytest.mark.parametrize("policy", [DEFAULT, OWN], ids=["changed", "own"])
@pytest.mark.parametrize("algorithm", STATED)
@pytest.mark.parametrize("changed", [{}, {"content_type": "text/html"}], ids=["same", "described"])
def test_copied_metadata_on_other_bytes_is_neither_current_nor_patched(
    changed: dict[str, object], algorithm: str, policy: Policy
) -> None:
    """The size and all metadata are the same. Only a checksum that both sides state differs."""
    source = make_source(**STATED[algorithm])
    assert decide(REF, source, make_replica(source), policy) == Done(Reason.CURRENT)
    damaged = make_replica(source, **OTHER_BYTES[algorithm])
    newer = make_source(**STATED[algorithm], **changed)
    assert isinstance(decide(REF, newer, damaged, policy), Copy)


def test_checksums_that_only_one_side_states_say_nothing() -> None:
    composite = make_source(
        etag="5d41402abc4b2a76b9719d911017c592-1",
        checksums=(Checksum("CRC32C", "AAAAAA==-1", composite=True),),
    )
    assert decide(REF, composite, make_replica(composite), DEFAULT) == Done(Reason.CURRENT)
    source = make_source(etag_kind=EtagKind.MD5)
    composed = make_replica(source, md5=None)
    assert decide(REF, source, composed, DEFAULT) == Done(Reason.CURRENT)


def test_existing_object_is_kept_when_overwrite_is_never() -> None:
    source = make_source(etag="0" * 32)
    assert decide(REF, source, make_replica(), NEVER) == Done(Reason.EXISTS)
    assert decide(REF, source, foreign(make_replica()), NEVER) == Done(Reason.EXISTS)
    assert isinstance(decide(REF, source, None, NEVER), Copy)


def test_replica_is_kept_when_deletes_are_off_and_the_source_is_gone() -> None:
    assert decide(REF, None, make_replica(), DEFAULT) == Done(Reason.SOURCE_GONE)


def test_replica_is_deleted_when_deletes_are_on_and_the_source_is_gone() -> None:
    replica = make_replica()
    assert decide(REF, None, replica, DELETES) == Delete(replica)
    assert decide(REF, None, None, DELETES) == Done(Reason.SOURCE_GONE)


def test_object_that_is_no_replica_of_this_key_is_not_deleted() -> None:
    other = make_replica(make_source(ref=replace(REF, key="other")))
    assert decide(REF, None, foreign(make_replica()), DELETES) == Done(Reason.SOURCE_GONE)
    assert decide(REF, None, other, DELETES) == Done(Reason.SOURCE_GONE)


def test_object_of_more_than_5_tib_is_rejected() -> None:
    assert isinstance(decide(REF, make_source(size=5 * 2**40), None, DEFAULT), Copy)
    with pytest.raises(ObjectTooLargeError, match="5 TiB"):
        decide(REF, make_source(size=5 * 2**40 + 1), None, DEFAULT)


def test_archived_object_is_rejected_before_its_bytes_are_read() -> None:
    source = make_source(is_archived=True)
    with pytest.raises(SourceArchivedError, match=r"If the bucket sends .* the object\.$"):
        decide(REF, source, None, DEFAULT)
    assert isinstance(decide(REF, source, make_replica(source), DEFAULT), Done)
