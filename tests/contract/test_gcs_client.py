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


def test_a_stated_checksum_and_a_precondition_go_with_an_upload(bucket: Bucket, name: str) -> None:
    blob = bucket.blob(name)
    blob.crc32c = crc32c(b"data")

    blob.upload_from_string(b"data", if_generation_match=0, checksum=None)

    assert (blob.crc32c, blob.size, blob.metageneration) == (crc32c(b"data"), 4, 1)
    with pytest.raises(PreconditionFailed) as refused:
        blob.upload_from_string(b"data", if_generation_match=0, checksum=None)
    assert refused.value.response.json()["error"]["errors"][0]["location"] == "If-Match"


def test_the_content_type_is_the_one_of_the_blob(bucket: Bucket, name: str) -> None:
    blob = bucket.blob(name)
    blob.content_type = "text/x"

    blob.upload_from_file(io.BytesIO(b"data"), size=4)
    assert bucket.get_blob(name).content_type == "text/x"
    blob.upload_from_string(b"data", content_type="text/y")
    assert bucket.get_blob(name).content_type == "text/y"


def test_a_content_type_other_than_the_one_of_the_blob_is_refused(
    bucket: Bucket, name: str
) -> None:
    """The client sends the blob's type in the resource and the argument, text/plain, with it."""
    blob = bucket.blob(name)
    blob.content_type = "text/x"

    with pytest.raises(BadRequest, match="Content-Type"):
        blob.upload_from_string(b"data")
    with pytest.raises(BadRequest, match="Content-Type"):
        blob.create_resumable_upload_session(content_type="text/y")


@pytest.mark.parametrize("size", [STEP + 3, None], ids=["known size", "unknown size"])
def test_a_session_is_opened_for_somebody_else_to_fill(
    bucket: Bucket, gcs: Gcs, name: str, size: int | None
) -> None:
    data = noise(STEP + 3)
    blob = bucket.blob(name)
    blob.metadata, blob.content_type, blob.crc32c = {"a": "b"}, "text/x", crc32c(data)

    session = blob.create_resumable_upload_session(
        content_type="text/x", size=size, if_generation_match=0
    )

    first = gcs.put(session, data[:STEP], f"0-{STEP - 1}/*")
    assert (first.status, first.persisted) == (308, STEP)
    assert gcs.put(session, data[STEP:], f"{STEP}-{len(data) - 1}/{len(data)}").status == 200
    blob.reload()
    assert (blob.size, blob.crc32c) == (len(data), crc32c(data))
    assert (blob.metadata, blob.content_type) == ({"a": "b"}, "text/x")
    late = blob.create_resumable_upload_session(
        content_type="text/x", size=size, if_generation_match=0
    )
    assert gcs.put(late, data).status == 412


def test_a_session_has_the_size_it_was_opened_for(bucket: Bucket, gcs: Gcs, name: str) -> None:
    session = bucket.blob(name).create_resumable_upload_session(size=5, if_generation_match=0)

    assert gcs.put(session, b"four").status == 400
    assert gcs.get(name).status == 404


def test_a_reload_reads_what_is_there_now(bucket: Bucket, gcs: Gcs, name: str) -> None:
    blob = bucket.blob(name)
    blob.upload_from_string(b"data")
    gcs.patch(name, {"metadata": {"a": "b"}, "customTime": "2026-01-02T03:04:05.678Z"})

    blob.reload(projection="full", if_generation_match=blob.generation)

    assert (blob.metadata, blob.metageneration) == ({"a": "b"}, 2)
    assert blob.custom_time.isoformat() == "2026-01-02T03:04:05.678000+00:00"
    gcs.media(name, b"newer")
    with pytest.raises(NotFound):  # the client asks for the generation that it knows
        blob.reload(if_generation_match=blob.generation)
    with pytest.raises(PreconditionFailed):
        bucket.blob(name).reload(if_generation_match=blob.generation)


def test_a_patch_removes_metadata_and_keeps_the_rest(bucket: Bucket, gcs: Gcs, name: str) -> None:
    blob = bucket.blob(name)
    blob.metadata, blob.cache_control = {"a": "b", "c": "d"}, "no-cache"
    blob.upload_from_string(b"data")

    blob.metadata = {"a": None, "e": "f"}
    blob.patch(if_generation_match=blob.generation, if_metageneration_match=1)

    found = gcs.get(name).json
    assert (found["metadata"], found["cacheControl"]) == ({"c": "d", "e": "f"}, "no-cache")


def test_a_listing_of_some_fields(bucket: Bucket, name: str) -> None:
    for leaf in "abc":
        bucket.blob(f"{name}/{leaf}").upload_from_string(leaf)

    listed = list(
        bucket.list_blobs(prefix=name, page_size=2, fields="items(name,size),nextPageToken")
    )

    assert [(blob.name, blob.size) for blob in listed] == [(f"{name}/{x}", 1) for x in "abc"]
    assert {blob.crc32c for blob in listed} == {None}
    with pytest.raises(BadRequest):
        list(bucket.list_blobs(prefix=name, fields="items(nonsense)"))


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
