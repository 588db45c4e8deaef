"""What the adapters ask for, request by request, as it is seen on the wire."""

import pytest
from contract.gcs_http import crc32c
from wire.cases import (
    ANSWERED,
    ARRIVAL,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    INSIDE,
    OVERWRITE_SMALL,
    PATCH,
    Scenario,
)
from wire.proxy import AnswerError, CutError, Exchange, Fault, Phase, Place, Seen, answer
from wire.stage import SOURCE, Stage

from replicate.errors import (
    ReplicationError,
    SourceArchivedError,
    SourceBucketNotFoundError,
    SourceForbiddenError,
    ThrottledError,
)
from replicate.protocol.model import Checksum, SourceObject, SourceRef
from replicate.s3 import S3Source
from tools.local.gcs import Fault as ServerFault

KIB = 1024
MID_ANSWER = Place(Phase.RESPONSE_BODY, INSIDE)
MID_REQUEST = Place(Phase.REQUEST_BODY, INSIDE)
DESCRIPTION = {
    "ETag": '"0123456789abcdef0123456789abcdef"',
    "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT",
}


def cut(_: Exchange) -> None:
    raise CutError


def requests(stage: Stage, step: str) -> list[Seen]:
    return [seen for seen in stage.seen if seen.step == step]


@pytest.fixture
def s3(stage: Stage) -> S3Source:
    """Return the source's adapter alone."""
    stage.clouds.environment.deadline.restart(30)
    return stage.clouds.environment.source


# S3


def test_a_decided_copy_reads_the_version_it_was_decided_on(stage: Stage) -> None:
    assert stage.invoke(OVERWRITE_SMALL.prepare(stage)).failure == ""
    (get,) = requests(stage, "s3.get")
    assert get.headers["if-match"] == f'"{_etag(stage)}"'


def test_the_rest_of_a_broken_body_is_asked_for_by_place_and_version(stage: Stage) -> None:
    event = CREATE_LARGE.prepare(stage)
    stage.spoil(Fault("s3.get", MID_ANSWER, cut))
    assert stage.invoke(event).failure == ""
    (rest,) = requests(stage, "s3.resume")
    assert stage.current
    assert rest.headers["range"] == f"bytes={stage.current[1] // 2}-"
    assert rest.headers["if-match"] == f'"{_etag(stage)}"'


def test_a_versioned_object_is_read_by_its_version(stage: Stage, s3: S3Source) -> None:
    client, bucket = stage.clouds.s3, f"versioned-{stage.key.split('/')[0]}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket=bucket, Key="k", Body=b"x" * 100)["VersionId"]
    ref = SourceRef(bucket, "k")
    stage.spoil(Fault("s3.get", MID_ANSWER, cut))
    found = s3.head(ref)
    assert found
    assert found.version_id == version
    with s3.open(ref, found) as body:
        assert body
        assert body.readinto(memoryview(bytearray(100))) == 100
    for step in ("s3.get", "s3.resume"):
        (read,) = requests(stage, step)
        assert read.target.endswith(f"?versionId={version}")
        assert read.headers["if-match"] == f'"{found.etag}"'


def described(stage: Stage, s3: S3Source, **headers: str) -> SourceObject:
    """How the adapter understands an answer with these headers."""
    said = DESCRIPTION | {name.replace("_", "-"): value for name, value in headers.items()}

    def say(_: Exchange) -> None:
        raise AnswerError(answer(200, said))

    stage.spoil(Fault("s3.head", ARRIVAL, say))
    found = s3.head(SourceRef(SOURCE, stage.key))
    assert found
    return found


def test_metadata_that_s3_encoded_is_decoded(stage: Stage, s3: S3Source) -> None:
    found = described(
        stage,
        s3,
        x_amz_meta_base64="=?UTF-8?B?Z3LDvG4=?=",
        x_amz_meta_quoted="=?UTF-8?Q?gr=C3=BCn?= und =?UTF-8?Q?blau?=",
        x_amz_meta_plain="green",
        x_amz_meta_odd="=?what?=",
    )
    assert found.metadata == {
        "base64": "grün",
        "quoted": "grün und blau",
        "plain": "green",
        "odd": "=?what?=",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"x_amz_checksum_crc32": "AAAAAA==-3"},
        {"x_amz_checksum_crc32": "AAAAAA==", "x_amz_checksum_type": "COMPOSITE"},
    ],
)
def test_a_composite_checksum_is_not_taken_for_the_whole_object_s(
    stage: Stage, s3: S3Source, headers: dict[str, str]
) -> None:
    (checksum,) = described(stage, s3, **headers).checksums
    assert checksum.composite


def test_a_whole_object_s_checksum_is_recognised(stage: Stage, s3: S3Source) -> None:
    found = described(
        stage, s3, x_amz_checksum_crc64nvme="AAAAAAAAAAA=", x_amz_checksum_type="FULL_OBJECT"
    )
    assert found.checksums == (Checksum("CRC64NVME", "AAAAAAAAAAA="),)


@pytest.mark.parametrize(
    ("headers", "is_md5"),
    [
        ({}, True),
        ({"x_amz_server_side_encryption": "AES256"}, True),
        ({"x_amz_server_side_encryption": "aws:kms"}, False),
        ({"x_amz_server_side_encryption": "aws:kms:dsse"}, False),
        ({"x_amz_server_side_encryption_customer_algorithm": "AES256"}, False),
        ({"ETag": '"0123456789abcdef0123456789abcdef-2"'}, False),
    ],
)
def test_an_etag_is_an_md5_only_where_s3_says_so(
    stage: Stage, s3: S3Source, headers: dict[str, str], *, is_md5: bool
) -> None:
    assert described(stage, s3, **headers).etag_is_md5 is is_md5


def test_a_missing_object_is_absent_and_a_missing_bucket_is_an_error(
    stage: Stage, s3: S3Source
) -> None:
    assert s3.head(SourceRef(SOURCE, stage.key)) is None
    with pytest.raises(SourceBucketNotFoundError):
        s3.head(SourceRef("no-such-bucket-anywhere", "k"))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", SourceForbiddenError),
        (403, "InvalidObjectState", SourceArchivedError),
        (503, "SlowDown", ThrottledError),
        (429, "TooManyRequests", ThrottledError),
        (404, "NoSuchBucket", SourceBucketNotFoundError),
    ],
)
def test_a_refusal_of_s3_is_understood_by_its_code(
    stage: Stage, s3: S3Source, status: int, code: str, error: type[ReplicationError]
) -> None:
    """An answer to HEAD has no body, so the adapter asks again with GET."""

    def say(exchange: Exchange) -> None:
        body = f"<Error><Code>{code}</Code></Error>" if exchange.seen.method == "GET" else ""
        raise AnswerError(answer(status, {"x-amz-request-id": "REQUEST7"}, body.encode()))

    for step in ("s3.head", "s3.get"):
        stage.spoil(Fault(step, ARRIVAL, say, times=100))
    with pytest.raises(error) as raised, s3.open(SourceRef(SOURCE, stage.key)):
        pass
    assert raised.value.request_id == "REQUEST7"
    if status < 500:
        with pytest.raises(error):
            s3.head(SourceRef(SOURCE, stage.key))


def test_a_bucket_elsewhere_is_asked_in_its_own_region_from_then_on(stage: Stage) -> None:
    environment = stage.clouds.cold()  # what it learns is not for other tests
    environment.deadline.restart(30)
    s3 = environment.source
    stage.put(b"elsewhere")

    def redirect(_: Exchange) -> None:
        raise AnswerError(answer(301, {"x-amz-bucket-region": "eu-north-1"}))

    stage.spoil(Fault("s3.head", ARRIVAL, redirect))
    for _ in range(2):
        assert s3.head(SourceRef(SOURCE, stage.key))
    regions = [seen.headers["authorization"].split("/")[2] for seen in stage.seen]
    assert regions == ["us-east-1", "eu-north-1", "eu-north-1"]


# GCS


def test_every_change_is_conditioned_on_what_was_seen(stage: Stage) -> None:
    assert stage.invoke(CREATE_SMALL.prepare(stage)).failure == ""
    (insert,) = requests(stage, "gcs.insert")
    assert "&ifGenerationMatch=0" in insert.target
    stage.forget_steps()
    seen = stage.clouds.gcs.get(stage.key).json
    stage.describe(other="metadata")
    assert stage.invoke(stage.event(fresh=False)).failure == ""
    stage.put_large("one")
    assert stage.invoke(stage.event(fresh=False)).failure == ""
    stage.remove()
    assert stage.invoke(stage.event(kind="ObjectRemoved:Delete")).failure == ""
    (patch,), (start,) = requests(stage, "gcs.patch"), requests(stage, "gcs.start")
    (delete,) = requests(stage, "gcs.delete")
    for change, metageneration in ((patch, 1), (start, 2)):
        assert f"ifGenerationMatch={seen['generation']}" in change.target
        assert f"ifMetagenerationMatch={metageneration}" in change.target
    assert "ifGenerationMatch=" in delete.target
    assert "ifMetagenerationMatch=1" in delete.target


def test_the_hash_of_all_bytes_goes_with_the_last_of_them_only(stage: Stage) -> None:
    assert stage.invoke(CREATE_LARGE.prepare(stage)).failure == ""
    (put,), (final,) = requests(stage, "gcs.put"), requests(stage, "gcs.final")
    assert "x-goog-hash" not in put.headers
    assert final.headers["x-goog-hash"] == f"crc32c={crc32c(stage.clouds.blobs['one'])}"
    assert put.sent + final.sent == len(stage.clouds.blobs["one"])
    assert put.sent % (256 * KIB) == 0
    assert 0 < final.sent <= 256 * KIB


def test_what_gcs_did_not_keep_is_read_from_s3_again_and_sent_again(stage: Stage) -> None:
    """It answers 308 with fewer bytes than it was sent."""
    event = CREATE_LARGE.prepare(stage)
    kept = 3 * 256 * KIB
    stage.clouds.server.add_fault(
        ServerFault(
            operation="upload.put",
            persist_then_status=kept // KIB,
            status=308,
            headers={"Range": f"bytes=0-{kept - 1}"},
        )
    )
    assert stage.invoke(event).failure == ""
    stage.assert_equal()
    assert stage.steps.count("gcs.put") == 2
    assert stage.steps.count("gcs.ask") == 0
    (rest,) = requests(stage, "s3.resume")
    assert rest.headers["range"] == f"bytes={kept}-"
    again = requests(stage, "gcs.put")[1]
    assert again.headers["content-range"].startswith(f"bytes {kept}-")


def test_a_lost_last_answer_is_asked_for_and_nothing_is_sent_twice(stage: Stage) -> None:
    event = CREATE_LARGE.prepare(stage)
    stage.spoil(Fault("gcs.final", ANSWERED, cut))
    assert stage.invoke(event).failure == ""
    assert stage.steps[-3:] == ["gcs.final", "gcs.ask", "s3.head"]
    stage.assert_equal()


@pytest.mark.parametrize(
    ("scenario", "step", "reason"),
    [
        (CREATE_SMALL, "gcs.insert", "created"),
        (OVERWRITE_SMALL, "gcs.insert", "overwritten"),
        (CREATE_LARGE, "gcs.final", "created"),
        (PATCH, "gcs.patch", "metadata_updated"),
        (DELETE, "gcs.delete", "deleted"),
    ],
    ids=str,
)
def test_a_change_whose_answer_was_lost_is_told_as_what_it_was(
    stage: Stage, scenario: Scenario, step: str, reason: str
) -> None:
    event = scenario.prepare(stage)
    stage.spoil(Fault(step, ANSWERED, cut))
    assert stage.invoke(event).told["reason"] == reason
    stage.assert_equal()


def test_an_upload_that_is_given_up_is_cancelled_by_its_own_address(stage: Stage) -> None:
    event = CREATE_LARGE.prepare(stage)
    stage.spoil(Fault("s3.get", MID_ANSWER, flip=True))
    assert stage.invoke(event).failure == "integrity"
    (put,), (cancel,) = requests(stage, "gcs.put"), requests(stage, "gcs.cancel")
    assert cancel.target == put.target
    assert cancel.status == 499


# How many of them


@pytest.mark.parametrize(
    ("size", "fresh", "expected"),
    [
        (9 * KIB, True, ["s3.get", "gcs.insert", "s3.head"]),
        (0, True, ["s3.get", "gcs.insert", "s3.head"]),
        (300 * KIB, True, ["gcs.get", "s3.get", "gcs.insert", "s3.head"]),
        (9 * KIB, False, ["gcs.get", "s3.head", "s3.get", "gcs.insert", "s3.head"]),
        (1024 * KIB, True, ["gcs.get", "s3.get", "gcs.insert", "s3.head"]),
        (
            1024 * KIB + 1,
            True,
            ["gcs.get", "s3.get", "gcs.start", "gcs.put", "gcs.final", "s3.head"],
        ),
    ],
)
def test_a_new_object_takes_no_more_requests_than_this(
    stage: Stage, size: int, expected: list[str], *, fresh: bool
) -> None:
    stage.put(b"z" * size)
    assert stage.invoke(stage.event(fresh=fresh)).failure == ""
    assert stage.steps == expected


def test_an_unchanged_object_takes_one_request_of_each_side(stage: Stage) -> None:
    stage.put(b"the same")
    assert stage.invoke(stage.event()).failure == ""
    stage.forget_steps()
    told = stage.invoke(stage.event(fresh=False)).told
    assert (told["status"], told["reason"]) == ("skipped", "current")
    assert stage.steps == ["gcs.get", "s3.head"]


def _etag(stage: Stage) -> str:
    return str(stage.clouds.s3.head_object(Bucket=SOURCE, Key=stage.key)["ETag"]).strip('"')
