"""What a run says of itself at its end, and how often it opens the source."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fakes import FakeGcs, FakeS3, Pinned, Upload

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    OutOfTimeError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol import mapping
from replicate.protocol.mapping import Naming, Tags
from replicate.protocol.model import (
    Attributes,
    Precondition,
    Reason,
    Replica,
    Result,
    SourceObject,
    SourceRef,
    Span,
    VerifiedBy,
)
from replicate.protocol.plan import Policy
from replicate.protocol.ports import Body, GatedBody
from replicate.protocol.replicator import Expectation, Replicator

REF = SourceRef("source", "key")
RECOGNISED = VerifiedBy("fingerprint", "fingerprint")
DELETES = Policy(deletes=True)
COPIED = VerifiedBy("etag-md5", "crc32c")


OWNER = {"owner": "me"}


class TwentyRounds:
    """More than any of these runs needs. No pause takes any time."""

    def __init__(self) -> None:
        self.left = 20

    def monotonic(self) -> float:
        return 0.0

    def require(self) -> None:
        if not self.left:
            raise OutOfTimeError("A run that should have ended did not.")
        self.left -= 1

    def pause(self, lost_races: int) -> None: ...


class CountedS3(FakeS3):
    """It counts how often it is opened. After each opening the next of `changes_to_come` is put."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.changes_to_come: list[bytes] = []

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        self.opened += 1
        with super().open(ref, version, span) as body:
            yield body
        if self.changes_to_come:
            self.put(ref, self.changes_to_come.pop(0))


class NormalizingGcs(FakeGcs):
    """It stores languages in small letters, and says so in its responses."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = 0

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        return super().write(name, _in_small(attributes), body, precondition, storage_class)

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        self.patches += 1
        return super().patch(name, _in_small(attributes), current)


def _in_small(attributes: Attributes) -> Attributes:
    return replace(attributes, content_language=(attributes.content_language or "").lower())


class RefusingS3(FakeS3):
    """It describes objects and never gives them."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why

    def pin(self, ref: SourceRef, version: SourceObject | None = None) -> Pinned | None:
        if version is None:
            return super().pin(ref)
        raise SourceChangedError(self.why)


class RefusingGcs(FakeGcs):
    """It takes no object."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why

    def require(self, name: str, precondition: Precondition) -> None:
        super().require(name, precondition)
        raise DestinationChangedError(self.why)


def replicate(
    s3: FakeS3, gcs: FakeGcs, hint: Expectation = Expectation.UNKNOWN, policy: Policy = DELETES
) -> Result:
    return Replicator(
        source=s3,
        destination=gcs,
        naming=Naming("replica"),
        clock=TwentyRounds(),
        policy=policy,
    ).replicate(REF, hint)


def replica(gcs: FakeGcs) -> Replica | None:
    return gcs.head("key")


def test_an_object_that_is_copied() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    source = s3.put(REF, b"seven b")
    assert replicate(s3, gcs) == Result(
        ref=REF,
        uri="gs://replica/key",
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
    assert outcome.reason is Reason.OVERWRITTEN


def test_an_object_whose_metadata_is_replaced() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    s3.put(REF, b"bytes")
    replicate(s3, gcs)
    source = s3.put(REF, b"bytes", {"owner": "me"})
    assert replicate(s3, gcs) == Result(
        ref=REF,
        uri="gs://replica/key",
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
    assert replicate(s3, gcs) == Result(
        ref=REF,
        uri="gs://replica/key",
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
    assert replicate(s3, gcs) == Result(
        ref=REF,
        uri="gs://replica/key",
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
    "hint", [Expectation.UNKNOWN, Expectation.CHANGED, Expectation.NEW], ids=str
)
def test_a_new_object_is_opened_once_whatever_the_run_expects(hint: Expectation) -> None:
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


@pytest.mark.parametrize("tags", Tags)
def test_tags_follow_a_copy_and_a_change_of_metadata(tags: Tags) -> None:
    s3, gcs = FakeS3(), FakeGcs()
    s3.reads_tags = True
    for metadata, kept in ({}, {"tag": "1"}), (OWNER, {"tag": "2"}):
        upload = Upload(data=b"bytes", metadata=metadata, tags=kept)
        source = s3.upload(REF, upload)
        replicate(s3, gcs, policy=Policy(tags=tags))
        assert gcs.objects["key"].replica.attributes == mapping.attributes(source, tags)
    assert gcs.objects["key"].replica.metageneration == 2


def test_what_gcs_stores_in_its_own_way_is_not_patched_by_the_run_that_wrote_it() -> None:
    s3, gcs = FakeS3(), NormalizingGcs()
    s3.upload(REF, Upload(data=b"bytes", content_language="de-AT"))
    assert replicate(s3, gcs).reason is Reason.CREATED
    assert gcs.patches == 0
    s3.upload(REF, Upload(data=b"bytes", content_language="de-AT", metadata=OWNER))
    assert replicate(s3, gcs).reason is Reason.METADATA_UPDATED
    assert gcs.patches == 1


@pytest.mark.parametrize(
    ("why", "sentence"), [("Not yours.", "Not yours."), ("", "it does not say why.")]
)
def test_a_refusal_is_said_in_the_words_of_the_store(why: str, sentence: str) -> None:
    s3 = RefusingS3(why)
    s3.put(REF, b"bytes")
    with pytest.raises(SourceForbiddenError) as refused:
        replicate(s3, FakeGcs())
    assert refused.value.message == (
        f"S3 refuses to give s3://source/key, although it has not changed: {sentence}"
    )


def test_a_refusal_of_gcs_says_where_to_look() -> None:
    s3 = FakeS3()
    s3.put(REF, b"bytes")
    with pytest.raises(DestinationForbiddenError) as refused:
        replicate(s3, RefusingGcs("Retention."))
    assert refused.value.message == (
        "GCS refuses to create the replica of s3://source/key, although there is none: Retention."
        " Look for a policy on the bucket, project or organization."
    )
