"""Tags, storage classes and fields that GCS cannot hold, through the real adapters."""

from collections.abc import Mapping
from typing import Any

import pytest
from wire.harness import MIB, SHORT_DELAY, SOURCE, Harness

from replicate.handler import Function

SIZES = [7, MIB, MIB + 1]
"""A small object, the largest in one request, and the smallest that needs an upload session."""


def configure(harness: Harness, **environ: str) -> None:
    harness.function = Function(harness.clouds.new_environment(SHORT_DELAY, **environ))


def put(harness: Harness, size: int, bucket: str = SOURCE, **fields: Any) -> str:  # noqa: ANN401
    """Write the source; return its version id, if the bucket is versioned."""
    written = harness.clouds.s3.put_object(
        Bucket=bucket, Key=harness.key, Body=b"x" * size, **fields
    )
    return written.get("VersionId", "")


def deliver(harness: Harness, bucket: str = SOURCE) -> Mapping[str, Any]:
    event = harness.event(fresh=False)
    event["Records"][0]["s3"]["bucket"]["name"] = bucket
    ended = harness.invoke(event)
    assert ended.error_code == "", ended.message
    return ended.result


def written_tags(harness: Harness, form: str) -> dict[str, str]:
    resource = harness.clouds.gcs.get(harness.key).json
    if form == "contexts":
        custom = resource.get("contexts", {}).get("custom", {})
        return {name: payload["value"] for name, payload in custom.items()}
    return {
        name.removeprefix("s3-tag-"): value
        for name, value in resource["metadata"].items()
        if name.startswith("s3-tag-")
    }


def tag(harness: Harness, tags: Mapping[str, str], bucket: str = SOURCE, **version: str) -> None:
    harness.clouds.s3.put_object_tagging(
        Bucket=bucket,
        Key=harness.key,
        Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]},
        **version,  # type: ignore[arg-type]
    )


@pytest.fixture
def unobserved(harness: Harness) -> Harness:
    """Return a harness that does not observe the destination, because it ignores tags."""
    harness.clouds.google.watch = lambda _: None
    return harness


@pytest.mark.parametrize("form", ["contexts", "metadata"])
@pytest.mark.parametrize("size", SIZES)
def test_tags_are_created_updated_and_removed(unobserved: Harness, form: str, size: int) -> None:
    harness = unobserved
    configure(harness, REPLICATE_TAGS=form)
    put(harness, size, Tagging="team=red&stage=a%20b")
    assert deliver(harness)["reason"] == "created"
    assert written_tags(harness, form) == {"team": "red", "stage": "a b"}
    assert deliver(harness)["reason"] == "current"
    tag(harness, {"team": "blue", "new": "1"})
    assert deliver(harness)["reason"] == "metadata_updated"
    assert written_tags(harness, form) == {"team": "blue", "new": "1"}
    harness.clouds.s3.delete_object_tagging(Bucket=SOURCE, Key=harness.key)
    assert deliver(harness)["reason"] == "metadata_updated"
    assert written_tags(harness, form) == {}
    assert deliver(harness)["reason"] == "current"


def test_tags_are_ignored_by_default(unobserved: Harness) -> None:
    put(unobserved, 7, Tagging="team=red")
    assert deliver(unobserved)["reason"] == "created"
    assert written_tags(unobserved, "contexts") == written_tags(unobserved, "metadata") == {}
    assert not any("tagging" in request.target for request in unobserved.requests)


@pytest.mark.parametrize("form", ["contexts", "metadata"])
def test_tags_are_those_of_the_version_that_is_read(unobserved: Harness, form: str) -> None:
    harness = unobserved
    bucket = f"versioned-{harness.key.split('/')[0]}"
    client = harness.clouds.s3
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    configure(harness, REPLICATE_TAGS=form, SOURCE_BUCKETS=bucket)
    first = put(harness, 7, bucket, Tagging="of=first")
    second = put(harness, 8, bucket, Tagging="of=second")
    tag(harness, {"of": "changed first"}, bucket, VersionId=first)
    deliver(harness, bucket)
    assert written_tags(harness, form) == {"of": "second"}
    targets = [request.target for request in harness.requests if "tagging" in request.target]
    assert targets
    assert all(f"versionId={second}" in target for target in targets)
    source = harness.clouds.gcs.get(harness.key).json["metadata"]
    assert source["s3-source-version-id"] == second
    client.delete_object(Bucket=bucket, Key=harness.key, VersionId=second)
    deliver(harness, bucket)
    assert written_tags(harness, form) == {"of": "changed first"}


@pytest.mark.parametrize("size", SIZES)
def test_unsupported_fields_are_dropped_and_named_and_the_replica_stays_current(
    unobserved: Harness, size: int
) -> None:
    harness = unobserved
    configure(harness, REPLICATE_TAGS="contexts")
    put(
        harness,
        size,
        Tagging="plain=kept&empty=&a/b=c",
        ContentLanguage="x" * 101,
        Metadata={"good": "kept", "bad": "=?UTF-8?Q?a=0Ab?="},
    )
    result = deliver(harness)
    assert result["reason"] == "created"
    assert sorted(result["fields_dropped"]) == [
        "content-language",
        "metadata bad",
        "tag a/b",
        "tag empty",
    ]
    resource = harness.clouds.gcs.get(harness.key).json
    assert written_tags(harness, "contexts") == {"plain": "kept"}
    assert "contentLanguage" not in resource
    assert resource["metadata"]["good"] == "kept"
    assert "bad" not in resource["metadata"]
    again = deliver(harness)
    assert (again["status"], again["reason"]) == ("skipped", "current")
    assert harness.clouds.gcs.get(harness.key).json["metageneration"] == "1"


@pytest.mark.parametrize("size", SIZES)
def test_storage_class_is_mapped(unobserved: Harness, size: int) -> None:
    harness = unobserved
    configure(harness, STORAGE_CLASS_MAP="STANDARD_IA=NEARLINE, GLACIER_IR=COLDLINE")
    put(harness, size, StorageClass="STANDARD_IA")
    deliver(harness)
    assert harness.clouds.gcs.get(harness.key).json["storageClass"] == "NEARLINE"
    put(harness, size + 1, StorageClass="GLACIER_IR")
    deliver(harness)
    assert harness.clouds.gcs.get(harness.key).json["storageClass"] == "COLDLINE"
    put(harness, size)
    deliver(harness)
    assert harness.clouds.gcs.get(harness.key).json["storageClass"] == "STANDARD"
