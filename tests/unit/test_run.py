"""What a run says of itself at its end, and how often it opens the source."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fakes import FakeGcs, FakeS3, Upload

from replicate.mapping import Naming, Tags
from replicate.objects import Outcome, Reason, Replica, SourceObject, SourceRef, Status, VerifiedBy
from replicate.plan import Policy
from replicate.ports import Body
from replicate.replication import LOOK_FIRST, Hint, Replicator

REF = SourceRef("source", "key")
RECOGNISED = VerifiedBy("fingerprint", "fingerprint")
DELETES = Policy(deletes=True)
COPIED = VerifiedBy("etag-md5", "crc32c")


class NoClock:
    """Rounds may begin at any time, and no pause takes any."""

    def require(self) -> None: ...

    def pause(self, lost_races: int) -> None: ...


class CountedS3(FakeS3):
    """It counts how often it is opened. After each opening the next of `changes_to_come` is put."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.changes_to_come: list[bytes] = []

    @contextmanager
    def open(self, ref: SourceRef, version: SourceObject | None = None) -> Iterator[Body | None]:
        self.opened += 1
        with super().open(ref, version) as body:
            yield body
        if self.changes_to_come:
            self.put(ref, self.changes_to_come.pop(0))


def replicate(
    s3: FakeS3, gcs: FakeGcs, hint: Hint = LOOK_FIRST, policy: Policy = DELETES
) -> Outcome:
    return Replicator(
        source=s3,
        destination=gcs,
        naming=Naming("replica"),
        clock=NoClock(),
        policy=policy,
    ).replicate(REF, hint)


def replica(gcs: FakeGcs) -> Replica | None:
    return gcs.head("key")


def test_an_object_that_is_copied() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    source = s3.put(REF, b"seven b")
    assert replicate(s3, gcs) == Outcome(
        ref=REF,
        name="key",
        status=Status.REPLICATED,
        reason=Reason.CREATED,
        source=source,
        replica=replica(gcs),
        bytes_copied=7,
        verified_by=COPIED,
    )


def test_an_object_that_is_copied_over_another() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    gcs.put("key", b"theirs")
    s3.put(REF, b"ours")
    outcome = replicate(s3, gcs)
    assert (outcome.status, outcome.reason) == (Status.REPLICATED, Reason.OVERWRITTEN)


def test_an_object_whose_metadata_is_replaced() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    s3.put(REF, b"bytes")
    replicate(s3, gcs)
    source = s3.put(REF, b"bytes", {"owner": "me"})
    assert replicate(s3, gcs) == Outcome(
        ref=REF,
        name="key",
        status=Status.REPLICATED,
        reason=Reason.METADATA_UPDATED,
        source=source,
        replica=replica(gcs),
        bytes_copied=0,
        verified_by=VerifiedBy("etag", "crc32c"),
    )


def test_an_object_that_is_deleted() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    s3.put(REF, b"bytes")
    replicate(s3, gcs)
    s3.delete(REF)
    assert replicate(s3, gcs) == Outcome(
        ref=REF,
        name="key",
        status=Status.DELETED,
        reason=Reason.DELETED,
        source=None,
        replica=None,
        bytes_copied=0,
        verified_by=VerifiedBy("absent", "absent"),
    )


def test_an_object_that_is_as_it_should_be() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    source = s3.put(REF, b"bytes")
    replicate(s3, gcs)
    assert replicate(s3, gcs) == Outcome(
        ref=REF,
        name="key",
        status=Status.SKIPPED,
        reason=Reason.CURRENT,
        source=source,
        replica=replica(gcs),
        bytes_copied=0,
        verified_by=RECOGNISED,
    )


def test_a_run_that_copies_twice_counts_the_bytes_of_both_copies() -> None:
    s3, gcs = CountedS3(), FakeGcs()
    s3.put(REF, b"one")
    s3.changes_to_come = [b"three"]
    outcome = replicate(s3, gcs)
    assert gcs.objects["key"].data == b"three"
    assert outcome.bytes_copied == len(b"one") + len(b"three")
    assert outcome.reason is Reason.OVERWRITTEN


@pytest.mark.parametrize(
    "hint", [LOOK_FIRST, Hint(changed=True), Hint(changed=True, new=True)], ids=str
)
def test_a_new_object_is_opened_once_whatever_the_run_expects(hint: Hint) -> None:
    s3, gcs = CountedS3(), FakeGcs()
    s3.put(REF, b"bytes")
    replicate(s3, gcs, hint)
    assert s3.opened == 1


@pytest.mark.parametrize(
    ("tags", "dropped"),
    [
        (Tags.OFF, ("metadata half",)),
        (Tags.CONTEXTS, ("metadata half", "tag goog")),
        (Tags.METADATA, ("metadata half",)),
    ],
)
def test_what_gcs_cannot_hold_is_named(tags: Tags, dropped: tuple[str, ...]) -> None:
    """Also by a run that finds nothing to do."""
    s3, gcs = FakeS3(), FakeGcs()
    s3.reads_tags = True
    s3.upload(REF, Upload(data=b"", metadata={"half": "\ud800"}, tags={"goog": "x"}))
    policy = Policy(tags=tags)
    assert [replicate(s3, gcs, policy=policy).fields_dropped for _ in range(2)] == [dropped] * 2
