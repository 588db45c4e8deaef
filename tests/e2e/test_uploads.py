"""Changes in S3 replicate to GCS by themselves."""

import pytest
from waiting import wait_until

from tools.local.cloud import SOURCE
from tools.local.demo_context import DemoContext, expect_results
from tools.local.demo_steps import ODD_NAMES

MIB = 1024 * 1024


def test_an_upload_replicates_by_itself(demo: DemoContext, prefix: str) -> None:
    name = f"{prefix}hello.txt"
    demo.cloud.aws.s3.put_object(Bucket=SOURCE, Key=name, Body=b"hello")
    wait_until(demo.cloud.google.bucket.blob(name).exists, "the upload is replicated")
    demo.cloud.settle()
    demo.expect_equal(prefix)


def test_headers_and_metadata_are_copied(demo: DemoContext, prefix: str) -> None:
    headers = {
        "ContentType": "text/html; charset=utf-8",
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a.html"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
    }
    name = f"{prefix}page.html"
    demo.upload(name, b"\x1f\x8b not gzip at all", Metadata={"author": "me"}, **headers)
    demo.expect_equal(prefix)
    blob = demo.cloud.google.bucket.get_blob(name)
    assert {
        "ContentType": blob.content_type,
        "CacheControl": blob.cache_control,
        "ContentDisposition": blob.content_disposition,
        "ContentEncoding": blob.content_encoding,
        "ContentLanguage": blob.content_language,
    } == headers
    assert blob.metadata["author"] == "me"
    assert blob.metadata["s3-source-key"] == name


@pytest.mark.parametrize(
    "name", [*ODD_NAMES, "a+b c%2Bd", "~!@$^*()=[]{}|;:,<>", "é vs é", "\u200b"]
)
def test_the_replicas_name_is_the_key_unchanged(demo: DemoContext, prefix: str, name: str) -> None:
    expect_results(demo.upload(prefix + name, name.encode()), "created")
    assert [pair.name for pair in demo.pairs(prefix)] == [prefix + name]
    demo.expect_equal(prefix)


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, 9 * MIB - 1])
def test_an_object_of_this_size_replicates(demo: DemoContext, prefix: str, size: int) -> None:
    (result,) = expect_results(demo.upload(f"{prefix}{size}", b"\xa5" * size), "created")
    assert result["bytes_copied"] == size
    demo.expect_equal(prefix)


def test_a_multipart_upload_replicates(demo: DemoContext, prefix: str) -> None:
    data = bytes(range(256)) * 48 * 1024
    delivery = demo.upload_in_parts(f"{prefix}parts", data, 5 * MIB)
    (result,) = expect_results(delivery, "created")
    assert result["source"]["etag"].endswith("-3")
    demo.expect_equal(prefix)


def test_an_overwrite_replaces_the_replica(demo: DemoContext, prefix: str) -> None:
    expect_results(demo.upload(f"{prefix}a", b"first"), "created")
    expect_results(demo.upload(f"{prefix}a", b"second"), "overwritten")
    demo.expect_equal(prefix)


def test_a_change_of_metadata_alone_copies_no_bytes(demo: DemoContext, prefix: str) -> None:
    name = f"{prefix}a"
    demo.upload(name, b"bytes", Metadata={"author": "me", "draft": "yes"})
    generation = demo.generation(name)
    delivery = demo.replace_metadata(name, "text/plain", {"author": "you"})
    (result,) = expect_results(delivery, "metadata_updated")
    assert (result["bytes_copied"], demo.generation(name)) == (0, generation)
    demo.expect_equal(prefix)
    assert "draft" not in demo.cloud.google.bucket.get_blob(name).metadata


def test_a_delete_deletes_the_replica(demo: DemoContext, prefix: str) -> None:
    demo.upload(f"{prefix}a", b"bytes")
    expect_results(demo.delete(f"{prefix}a"), "deleted")
    assert demo.pairs(prefix) == []


def test_a_delete_leaves_an_object_that_is_no_replica(demo: DemoContext, prefix: str) -> None:
    name = f"{prefix}a"
    demo.upload(name, b"bytes")
    demo.cloud.google.bucket.blob(name).upload_from_string("not a replica")
    expect_results(demo.delete(name), "source_gone")
    assert demo.cloud.google.bucket.blob(name).download_as_bytes() == b"not a replica"
