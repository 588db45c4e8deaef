"""The requests of the adapters, as recorded by the proxy."""

import pytest
from contract.gcs_http import crc32c
from wire.cases import (
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    INSIDE,
    OVERWRITE_SMALL,
    PATCH,
    Scenario,
)
from wire.harness import SOURCE, Harness
from wire.proxy import (
    CannedResponseError,
    CutError,
    Exchange,
    Fault,
    Phase,
    Place,
    RecordedRequest,
    response,
)

from replicate.errors import (
    ReplicationError,
    SourceArchivedError,
    SourceBucketNotFoundError,
    SourceForbiddenError,
    ThrottledError,
)
from replicate.protocol.model import Checksum, EtagKind, SourceObject, SourceRef
from replicate.s3 import S3Source
from tools.local.gcs import Fault as ServerFault

KIB = 1024
MID_RESPONSE = Place(Phase.RESPONSE_BODY, INSIDE)
MID_REQUEST = Place(Phase.REQUEST_BODY, INSIDE)
DESCRIPTION = {
    "ETag": '"0123456789abcdef0123456789abcdef"',
    "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT",
}


def cut(_: Exchange) -> None:
    raise CutError


def requests_of(harness: Harness, step: str) -> list[RecordedRequest]:
    return [request for request in harness.requests if request.step == step]


@pytest.fixture
def s3(harness: Harness) -> S3Source:
    """Return the adapter of the source."""
    harness.clouds.environment.deadline.restart(30)
    return harness.clouds.environment.source


# S3


def test_copy_reads_the_version_that_was_described(harness: Harness) -> None:
    assert harness.invoke(OVERWRITE_SMALL.prepare(harness)).error_code == ""
    (get,) = requests_of(harness, "s3.get")
    assert get.headers["if-match"] == f'"{_etag(harness)}"'


def test_broken_body_is_resumed_with_range_and_if_match(harness: Harness) -> None:
    event = CREATE_LARGE.prepare(harness)
    harness.inject(Fault("s3.get", MID_RESPONSE, cut))
    assert harness.invoke(event).error_code == ""
    (rest,) = requests_of(harness, "s3.resume")
    assert harness.current
    size = harness.current[1]
    assert rest.headers["range"] == f"bytes={size // 2}-{size - 1}"
    assert rest.headers["if-match"] == f'"{_etag(harness)}"'


def test_versioned_object_is_read_by_its_version_id(harness: Harness, s3: S3Source) -> None:
    client, bucket = harness.clouds.s3, f"versioned-{harness.key.split('/')[0]}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket=bucket, Key="k", Body=b"x" * 100)["VersionId"]
    ref = SourceRef(bucket, "k")
    harness.inject(Fault("s3.get", MID_RESPONSE, cut))
    source = s3.head(ref)
    assert source
    assert source.version_id == version
    with s3.open(ref, source) as body:
        assert body
        assert body.readinto(memoryview(bytearray(100))) == 100
    for step in ("s3.get", "s3.resume"):
        (read,) = requests_of(harness, step)
        assert read.target.endswith(f"?versionId={version}")
        assert read.headers["if-match"] == f'"{source.etag}"'


def described(harness: Harness, s3: S3Source, **headers: str) -> SourceObject:
    """Return the description that the adapter reads from these headers."""
    fields = DESCRIPTION | {name.replace("_", "-"): value for name, value in headers.items()}

    def respond(_: Exchange) -> None:
        raise CannedResponseError(response(200, fields))

    harness.inject(Fault("s3.head", BEFORE_REQUEST, respond))
    source = s3.head(SourceRef(SOURCE, harness.key))
    assert source
    return source


def test_encoded_metadata_is_decoded(harness: Harness, s3: S3Source) -> None:
    source = described(
        harness,
        s3,
        x_amz_meta_base64="=?UTF-8?B?Z3LDvG4=?=",
        x_amz_meta_quoted="=?UTF-8?Q?gr=C3=BCn?= und =?UTF-8?Q?blau?=",
        x_amz_meta_plain="green",
        x_amz_meta_odd="=?what?=",
    )
    assert source.metadata == {
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
def test_composite_checksum_is_recognized(
    harness: Harness, s3: S3Source, headers: dict[str, str]
) -> None:
    (checksum,) = described(harness, s3, **headers).checksums
    assert checksum.composite


def test_full_object_checksum_is_recognized(harness: Harness, s3: S3Source) -> None:
    source = described(
        harness, s3, x_amz_checksum_crc64nvme="AAAAAAAAAAA=", x_amz_checksum_type="FULL_OBJECT"
    )
    assert source.checksums == (Checksum("CRC64NVME", "AAAAAAAAAAA="),)


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, EtagKind.MD5),
        ({"x_amz_server_side_encryption": "AES256"}, EtagKind.MD5),
        ({"x_amz_server_side_encryption": "aws:kms"}, EtagKind.OPAQUE),
        ({"x_amz_server_side_encryption": "aws:kms:dsse"}, EtagKind.OPAQUE),
        ({"x_amz_server_side_encryption_customer_algorithm": "AES256"}, EtagKind.OPAQUE),
        ({"ETag": '"0123456789abcdef0123456789abcdef-2"'}, EtagKind.MD5_OF_PARTS),
    ],
)
def test_etag_is_an_md5_unless_the_object_is_kms_encrypted_or_multipart(
    harness: Harness, s3: S3Source, headers: dict[str, str], kind: EtagKind
) -> None:
    assert described(harness, s3, **headers).etag_kind is kind


def test_missing_object_is_absent_and_a_missing_bucket_is_an_error(
    harness: Harness, s3: S3Source
) -> None:
    assert s3.head(SourceRef(SOURCE, harness.key)) is None
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
def test_s3_error_is_mapped_by_its_code(
    harness: Harness, s3: S3Source, status: int, code: str, error: type[ReplicationError]
) -> None:
    """A response to HEAD has no body, so the adapter repeats the request with GET."""

    def respond(exchange: Exchange) -> None:
        body = f"<Error><Code>{code}</Code></Error>" if exchange.request.method == "GET" else ""
        raise CannedResponseError(response(status, {"x-amz-request-id": "REQUEST7"}, body.encode()))

    for step in ("s3.head", "s3.get"):
        harness.inject(Fault(step, BEFORE_REQUEST, respond, times=100))
    with pytest.raises(error) as raised, s3.open(SourceRef(SOURCE, harness.key)):
        pass
    assert raised.value.request_id == "REQUEST7"
    if status < 500:
        with pytest.raises(error):
            s3.head(SourceRef(SOURCE, harness.key))


def test_region_of_a_bucket_is_learned_from_a_redirect(harness: Harness) -> None:
    environment = harness.clouds.new_environment()  # because the client keeps the region
    environment.deadline.restart(30)
    s3 = environment.source
    harness.put(b"elsewhere")

    def redirect(_: Exchange) -> None:
        raise CannedResponseError(response(301, {"x-amz-bucket-region": "eu-north-1"}))

    harness.inject(Fault("s3.head", BEFORE_REQUEST, redirect))
    for _ in range(2):
        assert s3.head(SourceRef(SOURCE, harness.key))
    regions = [request.headers["authorization"].split("/")[2] for request in harness.requests]
    assert regions == ["us-east-1", "eu-north-1", "eu-north-1"]


# GCS


def test_every_write_has_the_preconditions_of_the_replica(harness: Harness) -> None:
    assert harness.invoke(CREATE_SMALL.prepare(harness)).error_code == ""
    (insert,) = requests_of(harness, "gcs.insert")
    assert "&ifGenerationMatch=0" in insert.target
    harness.clear_requests()
    described = harness.clouds.gcs.get(harness.key).json
    harness.replace_metadata(other="metadata")
    assert harness.invoke(harness.event(fresh=False)).error_code == ""
    harness.put_large("one")
    assert harness.invoke(harness.event(fresh=False)).error_code == ""
    harness.remove()
    assert harness.invoke(harness.event(kind="ObjectRemoved:Delete")).error_code == ""
    (patch,), (start,) = requests_of(harness, "gcs.patch"), requests_of(harness, "gcs.start")
    (delete,) = requests_of(harness, "gcs.delete")
    for change, metageneration in ((patch, 1), (start, 2)):
        assert f"ifGenerationMatch={described['generation']}" in change.target
        assert f"ifMetagenerationMatch={metageneration}" in change.target
    assert "ifGenerationMatch=" in delete.target
    assert "ifMetagenerationMatch=1" in delete.target


def test_hash_of_the_object_is_sent_with_the_last_bytes_only(harness: Harness) -> None:
    assert harness.invoke(CREATE_LARGE.prepare(harness)).error_code == ""
    (put,), (final,) = requests_of(harness, "gcs.put"), requests_of(harness, "gcs.final")
    assert "x-goog-hash" not in put.headers
    assert final.headers["x-goog-hash"] == f"crc32c={crc32c(harness.clouds.blobs['one'])}"
    assert put.sent + final.sent == len(harness.clouds.blobs["one"])
    assert put.sent % (256 * KIB) == 0
    assert 0 < final.sent <= 256 * KIB


def test_bytes_that_gcs_did_not_persist_are_read_and_sent_again(harness: Harness) -> None:
    """GCS returns 308 with a range that is shorter than what was sent."""
    event = CREATE_LARGE.prepare(harness)
    kept = 3 * 256 * KIB
    harness.clouds.server.add_fault(
        ServerFault(
            operation="upload.put",
            persist_then_status=kept // KIB,
            status=308,
            headers={"Range": f"bytes=0-{kept - 1}"},
        )
    )
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()
    assert harness.steps.count("gcs.put") == 2
    assert harness.steps.count("gcs.query") == 0
    (rest,) = requests_of(harness, "s3.resume")
    assert rest.headers["range"] == f"bytes={kept}-{len(harness.clouds.blobs['one']) - 1}"
    again = requests_of(harness, "gcs.put")[1]
    assert again.headers["content-range"].startswith(f"bytes {kept}-")


def test_upload_status_is_queried_when_the_last_response_is_lost(harness: Harness) -> None:
    event = CREATE_LARGE.prepare(harness)
    harness.inject(Fault("gcs.final", BEFORE_RESPONSE, cut))
    assert harness.invoke(event).error_code == ""
    assert harness.steps[-3:] == ["gcs.final", "gcs.query", "s3.head"]
    harness.assert_equal()


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
def test_reason_is_correct_when_the_response_is_lost(
    harness: Harness, scenario: Scenario, step: str, reason: str
) -> None:
    event = scenario.prepare(harness)
    harness.inject(Fault(step, BEFORE_RESPONSE, cut))
    assert harness.invoke(event).result["reason"] == reason
    harness.assert_equal()


def test_abandoned_upload_is_cancelled_at_its_session_address(harness: Harness) -> None:
    event = CREATE_LARGE.prepare(harness)
    harness.inject(Fault("s3.get", MID_RESPONSE, flip=True))
    assert harness.invoke(event).error_code == "integrity"
    (put,), (cancel,) = requests_of(harness, "gcs.put"), requests_of(harness, "gcs.cancel")
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
def test_new_object_takes_exactly_these_requests(
    harness: Harness, size: int, expected: list[str], *, fresh: bool
) -> None:
    harness.put(b"z" * size)
    assert harness.invoke(harness.event(fresh=fresh)).error_code == ""
    assert harness.steps == expected


def test_unchanged_object_takes_one_request_to_each_store(harness: Harness) -> None:
    harness.put(b"the same")
    assert harness.invoke(harness.event()).error_code == ""
    harness.clear_requests()
    result = harness.invoke(harness.event(fresh=False)).result
    assert (result["status"], result["reason"]) == ("skipped", "current")
    assert harness.steps == ["gcs.get", "s3.head"]


def _etag(harness: Harness) -> str:
    return str(harness.clouds.s3.head_object(Bucket=SOURCE, Key=harness.key)["ETag"]).strip('"')
