"""What users do to S3 arrives in GCS by itself."""

import io
import time

import pytest
from boto3.s3.transfer import TransferConfig

from tools.local.cloud import SOURCE
from tools.local.scenes import ODD_NAMES
from tools.local.stage import Stage, results

MIB = 1024 * 1024


def test_an_upload_replicates_by_itself_within_a_second(stage: Stage, prefix: str) -> None:
    stage.upload(f"{prefix}warm-up", b"")
    name = f"{prefix}hello.txt"
    stage.cloud.aws.s3.put_object(Bucket=SOURCE, Key=name, Body=b"hello")
    uploaded = time.monotonic()
    while not stage.cloud.google.bucket.blob(name).exists():
        assert time.monotonic() - uploaded < 1
        time.sleep(0.02)
    stage.cloud.settle()
    stage.expect_equal(prefix, 2)


def test_what_is_said_about_an_object_is_carried_over(stage: Stage, prefix: str) -> None:
    described = {
        "ContentType": "text/html; charset=utf-8",
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a.html"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
    }
    name = f"{prefix}page.html"
    stage.upload(name, b"\x1f\x8b not gzip at all", Metadata={"author": "me"}, **described)
    stage.expect_equal(prefix)
    blob = stage.cloud.google.bucket.get_blob(name)
    assert {
        "ContentType": blob.content_type,
        "CacheControl": blob.cache_control,
        "ContentDisposition": blob.content_disposition,
        "ContentEncoding": blob.content_encoding,
        "ContentLanguage": blob.content_language,
    } == described
    assert blob.metadata["author"] == "me"
    assert blob.metadata["s3-source-key"] == name


@pytest.mark.parametrize(
    "name", [*ODD_NAMES, "a+b c%2Bd", "~!@$^*()=[]{}|;:,<>", "é vs é", "\u200b"]
)
def test_an_odd_key_is_the_replicas_name_to_the_letter(
    stage: Stage, prefix: str, name: str
) -> None:
    results(stage.upload(prefix + name, name.encode()), "created")
    assert [pair.name for pair in stage.pairs(prefix)] == [prefix + name]
    stage.expect_equal(prefix)


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, 9 * MIB - 1])
def test_every_size_arrives_in_full(stage: Stage, prefix: str, size: int) -> None:
    (result,) = results(stage.upload(f"{prefix}{size}", b"\xa5" * size), "created")
    assert result["bytes_copied"] == size
    stage.expect_equal(prefix)


def test_a_multipart_upload_arrives_in_full(stage: Stage, prefix: str) -> None:
    stage.cloud.aws.s3.upload_fileobj(
        io.BytesIO(bytes(range(256)) * 48 * 1024),
        SOURCE,
        f"{prefix}parts",
        Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB),
    )
    (result,) = results(stage.delivered(), "created")
    assert result["source"]["etag"].endswith("-3")
    stage.expect_equal(prefix)


def test_an_overwrite_replaces_the_replica(stage: Stage, prefix: str) -> None:
    results(stage.upload(f"{prefix}a", b"first"), "created")
    results(stage.upload(f"{prefix}a", b"second"), "overwritten")
    stage.expect_equal(prefix)


def test_a_change_of_metadata_alone_moves_no_bytes(stage: Stage, prefix: str) -> None:
    name = f"{prefix}a"
    stage.upload(name, b"bytes", Metadata={"author": "me", "draft": "yes"})
    generation = stage.generation(name)
    stage.cloud.aws.s3.copy_object(
        Bucket=SOURCE,
        Key=name,
        CopySource={"Bucket": SOURCE, "Key": name},
        MetadataDirective="REPLACE",
        ContentType="text/plain",
        Metadata={"author": "you"},
    )
    (result,) = results(stage.delivered(), "metadata_updated")
    assert (result["bytes_copied"], stage.generation(name)) == (0, generation)
    stage.expect_equal(prefix)
    assert "draft" not in stage.cloud.google.bucket.get_blob(name).metadata


def test_a_delete_deletes_the_replica(stage: Stage, prefix: str) -> None:
    stage.upload(f"{prefix}a", b"bytes")
    stage.cloud.aws.s3.delete_object(Bucket=SOURCE, Key=f"{prefix}a")
    results(stage.delivered(), "deleted")
    assert stage.pairs(prefix) == []


def test_a_delete_leaves_an_object_of_somebody_else_alone(stage: Stage, prefix: str) -> None:
    name = f"{prefix}a"
    stage.upload(name, b"bytes")
    stage.cloud.google.bucket.blob(name).upload_from_string("not a replica")
    stage.cloud.aws.s3.delete_object(Bucket=SOURCE, Key=name)
    results(stage.delivered(), "source_gone")
    assert stage.cloud.google.bucket.blob(name).download_as_bytes() == b"not a replica"
