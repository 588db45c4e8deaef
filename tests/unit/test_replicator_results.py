"""The result of a run, and how often the run opens the source."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from fakes import CountingS3, FakeGcs, FakeS3, Pinned, Upload, assembler

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    OutOfTimeError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol import mapping
from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import Naming, Tags
from replicate.protocol.model import (
    Attributes,
    Expectation,
    Precondition,
    Reason,
    Replica,
    Result,
    SourceObject,
    SourceRef,
    Span,
    Status,
    VerifiedBy,
)
from replicate.protocol.plan import Policy
from replicate.protocol.ports import Body, GatedBody
from replicate.protocol.replicator import Replicator

REF = SourceRef("source", "key")
UNCHANGED = VerifiedBy("fingerprint", "fingerprint")
DELETES = Policy(deletes=Deletes.ALL)
COPIED = VerifiedBy("etag-md5", "crc32c")


OWNER = {"owner": "me"}


class LimitedClock:
    """A clock that allows 20 rounds, more than any of these runs needs, and never waits."""

    def __init__(self) -> None:
        self.left = 20

    def monotonic(self) -> float:
        return 0.0

    def require(self) -> None:
        if not self.left:
            raise OutOfTimeError("A run that should have ended did not.")
        self.left -= 1

    def pause(self, lost_races: int) -> None: ...


class ChangingS3(CountingS3):
    """After each GET it puts the next of `later_puts`."""

    def __init__(self) -> None:
        super().__init__()
        self.later_puts: list[bytes] = []

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        with super().open(ref, version, span) as body:
            yield body
        if self.later_puts:
            self.put(ref, self.later_puts.pop(0))


class NormalizingGcs(FakeGcs):
    """Stores languages in lower case, and returns them so."""

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
        return super().write(name, _lower_language(attributes), body, precondition, storage_class)

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        self.patches += 1
        return super().patch(name, _lower_language(attributes), current)


def _lower_language(attributes: Attributes) -> Attributes:
    return replace(attributes, content_language=(attributes.content_language or "").lower())


class RefusingS3(FakeS3):
    """Describes objects, but refuses to open them."""

    def __init__(self, *message: str) -> None:
        super().__init__()
        self.message = message

    def pin(self, ref: SourceRef, version: SourceObject | None = None) -> Pinned | None:
        if version is None:
            return super().pin(ref)
        raise SourceChangedError(*self.message)


class RefusingGcs(FakeGcs):
    """Refuses every write."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def require(self, name: str, precondition: Precondition) -> None:
        super().require(name, precondition)
        raise DestinationChangedError(self.message)


def replicate(
    s3: FakeS3,
    gcs: FakeGcs,
    expectation: Expectation = Expectation.UNKNOWN,
    policy: Policy = DELETES,
) -> Result:
    return Replicator(
        source=s3,
        destination=gcs,
        naming=Naming("replica"),
        clock=LimitedClock(),
        policy=policy,
        assembler=assembler(s3, gcs),
    ).replicate(REF, expectation)


def replica(gcs: FakeGcs) -> Replica | None:
    return gcs.head("key")


def test_new_object_is_created() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    source = s3.put(REF, b"seven b")
    assert replicate(s3, gcs) == Result(
        ref=REF,
        uri="gs://replica/key",
        reason=Reason.CREATED,
        source=source,
        replica=replica(gcs),
        bytes_copied=7,
        bytes_sent=7,
        verified_by=COPIED,
    )


def test_existing_object_is_overwritten() -> None:
    s3, gcs = FakeS3(), FakeGcs()
    gcs.put("key", b"theirs")
    s3.put(REF, b"ours")
    assert replicate(s3, gcs).reason is Reason.FOREIGN_OVERWRITTEN
    s3.put(REF, b"ours, and newer")
    assert replicate(s3, gcs).reason is Reason.OVERWRITTEN


def test_overwritten_foreign_object_is_not_forgotten_in_the_next_round() -> None:
    s3, gcs = ChangingS3(), FakeGcs()
    gcs.put("key", b"theirs")
    s3.put(REF, b"one")
    s3.later_puts = [b"three"]
    assert replicate(s3, gcs).reason is Reason.FOREIGN_OVERWRITTEN
    assert gcs.objects["key"].data == b"three"


def test_metadata_is_updated_when_only_it_changed() -> None:
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


def test_replica_is_deleted_when_the_source_is_deleted() -> None:
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


def test_current_object_is_left_unchanged() -> None:
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
        verified_by=UNCHANGED,
    )


def test_result_counts_the_bytes_of_both_copies_when_the_run_copies_twice() -> None:
    s3, gcs = ChangingS3(), FakeGcs()
    s3.put(REF, b"one")
    s3.later_puts = [b"three"]
    result = replicate(s3, gcs)
    assert gcs.objects["key"].data == b"three"
    assert result.bytes_copied == len(b"one") + len(b"three")
    assert result.reason is Reason.OVERWRITTEN


@pytest.mark.parametrize(
    "expectation", [Expectation.UNKNOWN, Expectation.CHANGED, Expectation.NEW], ids=str
)
def test_new_object_is_opened_once_for_every_expectation(expectation: Expectation) -> None:
    s3, gcs = ChangingS3(), FakeGcs()
    s3.put(REF, b"bytes")
    replicate(s3, gcs, expectation)
    assert s3.gets == 1


@pytest.mark.parametrize(
    ("tags", "dropped"),
    [
        (Tags.OFF, ("metadata half",)),
        (Tags.CONTEXTS, ("metadata half", "tag goog")),
        (Tags.METADATA, ("metadata half",)),
    ],
)
def test_dropped_fields_are_named_in_the_result(tags: Tags, dropped: tuple[str, ...]) -> None:
    """They are named also when the object is current."""
    s3, gcs = FakeS3(), FakeGcs()
    s3.reads_tags = True
    s3.upload(REF, Upload(data=b"", metadata={"half": "\ud800"}, tags={"goog": "x"}))
    policy = Policy(tags=tags)
    assert [replicate(s3, gcs, policy=policy).fields_dropped for _ in range(2)] == [dropped] * 2


@pytest.mark.parametrize("tags", Tags)
def test_tags_are_written_by_a_copy_and_by_a_patch(tags: Tags) -> None:
    s3, gcs = FakeS3(), FakeGcs()
    s3.reads_tags = True
    for metadata, object_tags in ({}, {"tag": "1"}), (OWNER, {"tag": "2"}):
        upload = Upload(data=b"bytes", metadata=metadata, tags=object_tags)
        source = s3.upload(REF, upload)
        replicate(s3, gcs, policy=Policy(tags=tags))
        assert gcs.objects["key"].replica.attributes == mapping.attributes(source, tags)
    assert gcs.objects["key"].replica.metageneration == 2


def test_value_normalized_by_gcs_is_not_patched_by_the_same_run() -> None:
    s3, gcs = FakeS3(), NormalizingGcs()
    s3.upload(REF, Upload(data=b"bytes", content_language="de-AT"))
    assert replicate(s3, gcs).reason is Reason.CREATED
    assert gcs.patches == 0
    s3.upload(REF, Upload(data=b"bytes", content_language="de-AT", metadata=OWNER))
    assert replicate(s3, gcs).reason is Reason.METADATA_UPDATED
    assert gcs.patches == 1


@pytest.mark.parametrize(
    ("message", "sentence"),
    [(["Not yours."], "Not yours."), ([""], "it does not say why."), ([], "it does not say why.")],
)
def test_error_quotes_the_refusal_of_s3(message: list[str], sentence: str) -> None:
    s3 = RefusingS3(*message)
    s3.put(REF, b"bytes")
    with pytest.raises(SourceForbiddenError) as caught:
        replicate(s3, FakeGcs())
    assert caught.value.message == (
        f"S3 refuses to give s3://source/key, although it has not changed: {sentence}"
    )


def test_error_for_a_refusal_of_gcs_says_where_to_look() -> None:
    s3 = FakeS3()
    s3.put(REF, b"bytes")
    with pytest.raises(DestinationForbiddenError) as caught:
        replicate(s3, RefusingGcs("Retention."))
    assert caught.value.message == (
        "GCS refuses to create the replica of s3://source/key, although there is none: Retention."
        " Look for a policy on the bucket, project or organization."
    )


def test_object_whose_etag_only_looks_like_an_md5_is_copied_once_by_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its checksum has verified the bytes. A later run compares the MD5, and copies once more."""
    monkeypatch.setattr("fakes._etag", lambda _: "0" * 32)
    s3, gcs = CountingS3(), FakeGcs()
    s3.upload(REF, Upload(data=b"bytes", checksum="CRC64NVME"))
    assert replicate(s3, gcs).reason is Reason.CREATED
    assert replicate(s3, gcs).reason is Reason.OVERWRITTEN
    assert s3.gets == 2


@pytest.mark.parametrize("reason", Reason)
def test_exactly_a_change_in_progress_has_an_execution(reason: Reason) -> None:
    is_in_progress = reason.status is Status.IN_PROGRESS
    ended = partial(
        Result,
        ref=REF,
        uri="gs://replica/key",
        source=None,
        replica=None,
        verified_by=VerifiedBy("a", "b"),
    )
    assert ended(reason=reason, execution="one-1" if is_in_progress else None).reason is reason
    with pytest.raises(ValueError, match=f"{reason} by execution"):
        ended(reason=reason, execution=None if is_in_progress else "one-1")
