"""The same promises through Google's own client library, as the function uses it."""

import io

import pytest
from contract.gcs_http import KIB, STEP, Gcs, crc32c, noise
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud.storage import Bucket

MIB = 1024 * KIB
LARGE = noise(9 * MIB + 5)  # over 8 MiB the client takes a session


def test_a_small_object_goes_there_and_back(bucket: Bucket, name: str) -> None:
    blob = bucket.blob(f"{name} ü%")
    blob.metadata = {"source": "s3://b/ü"}
    blob.content_language = "de"
    blob.storage_class = "NEARLINE"

    blob.upload_from_string(b"data", content_type="text/x", if_generation_match=0)

    found = bucket.get_blob(blob.name)
    assert found.download_as_bytes() == b"data"
    assert (found.metadata, found.content_type) == ({"source": "s3://b/ü"}, "text/x")
    assert (found.content_language, found.storage_class) == ("de", "NEARLINE")
    assert (found.generation, found.size) == (blob.generation, 4)
    assert found.time_created.tzinfo


@pytest.mark.parametrize("size", [len(LARGE), None], ids=["known size", "unknown size"])
def test_a_large_object_goes_there_and_back(bucket: Bucket, name: str, size: int | None) -> None:
    blob = bucket.blob(name, chunk_size=4 * STEP)

    blob.upload_from_file(io.BytesIO(LARGE), size=size, if_generation_match=0, checksum="crc32c")

    assert (blob.crc32c, blob.size) == (crc32c(LARGE), len(LARGE))
    assert bucket.blob(name).download_as_bytes() == LARGE


def test_a_second_creator_is_refused(bucket: Bucket, name: str) -> None:
    bucket.blob(name).upload_from_string(b"first", if_generation_match=0)

    with pytest.raises(PreconditionFailed):
        bucket.blob(name).upload_from_string(b"second", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob(name).upload_from_file(io.BytesIO(LARGE), if_generation_match=0)
    assert bucket.blob(name).download_as_bytes() == b"first"


def test_a_wrong_checksum_is_refused(bucket: Bucket, name: str) -> None:
    blob = bucket.blob(name)
    blob.crc32c = crc32c(b"other")

    with pytest.raises(BadRequest):
        blob.upload_from_string(b"data", checksum=None)
    assert not blob.exists()


def test_a_patch_and_a_delete_take_preconditions(bucket: Bucket, name: str) -> None:
    blob = bucket.blob(name)
    blob.upload_from_string(b"data")
    blob.metadata = {"a": "b"}

    with pytest.raises(PreconditionFailed):
        blob.patch(if_metageneration_match=7)
    blob.patch(if_generation_match=blob.generation, if_metageneration_match=1)
    assert blob.metageneration == 2
    with pytest.raises(PreconditionFailed):
        blob.delete(if_generation_match=1)
    blob.delete(if_generation_match=blob.generation)
    with pytest.raises(NotFound):
        blob.reload()


def test_compose_rewrite_and_list(bucket: Bucket, name: str) -> None:
    parts = [bucket.blob(f"{name}/{number}") for number in range(3)]
    for part in parts:
        part.upload_from_string(part.name)
    whole = bucket.blob(f"{name}/whole")

    whole.compose(parts, if_generation_match=0)
    token, _, _ = bucket.blob(f"{name}/copy").rewrite(whole)

    assert token is None
    assert bucket.blob(f"{name}/copy").download_as_text() == "".join(part.name for part in parts)
    assert whole.component_count == 3
    listed = [blob.name for blob in bucket.list_blobs(prefix=f"{name}/", page_size=2)]
    assert listed == [f"{name}/{leaf}" for leaf in ("0", "1", "2", "copy", "whole")]


def test_the_bucket_answers(bucket: Bucket, gcs: Gcs) -> None:
    assert bucket.exists()
    assert bucket.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    assert not bucket.client.bucket(f"{gcs.bucket}-missing").exists()
