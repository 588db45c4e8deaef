"""Tags, storage classes and what GCS cannot hold, end to end."""

from collections.abc import Mapping
from typing import Any

import pytest
from wire.stage import BRIEF, MIB, SOURCE, Stage

from replicate.handler import Function

SIZES = [7, MIB, MIB + 1]
"""Small, the largest in one request, and the smallest that takes an upload session."""


def configured(stage: Stage, **environ: str) -> None:
    stage.function = Function(stage.clouds.cold(BRIEF, **environ))


def put(stage: Stage, size: int, bucket: str = SOURCE, **said: Any) -> str:  # noqa: ANN401
    """Write the source; its version, where the bucket keeps them."""
    written = stage.clouds.s3.put_object(Bucket=bucket, Key=stage.key, Body=b"x" * size, **said)
    return written.get("VersionId", "")


def deliver(stage: Stage, bucket: str = SOURCE) -> Mapping[str, Any]:
    event = stage.event(fresh=False)
    event["Records"][0]["s3"]["bucket"]["name"] = bucket
    ended = stage.invoke(event)
    assert ended.failure == "", ended.text
    return ended.told


def written_tags(stage: Stage, form: str) -> dict[str, str]:
    resource = stage.clouds.gcs.get(stage.key).json
    if form == "contexts":
        custom = resource.get("contexts", {}).get("custom", {})
        return {name: payload["value"] for name, payload in custom.items()}
    return {
        name.removeprefix("s3-tag-"): value
        for name, value in resource["metadata"].items()
        if name.startswith("s3-tag-")
    }


def tag(stage: Stage, tags: Mapping[str, str], bucket: str = SOURCE, **version: str) -> None:
    stage.clouds.s3.put_object_tagging(
        Bucket=bucket,
        Key=stage.key,
        Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]},
        **version,  # type: ignore[arg-type]
    )


@pytest.fixture
def unseen(stage: Stage) -> Stage:
    """A stage whose watcher is off: it knows nothing of tags."""
    stage.clouds.google.watch = lambda: None
    return stage


@pytest.mark.parametrize("form", ["contexts", "metadata"])
@pytest.mark.parametrize("size", SIZES)
def test_tags_arrive_change_and_go(unseen: Stage, form: str, size: int) -> None:
    stage = unseen
    configured(stage, REPLICATE_TAGS=form)
    put(stage, size, Tagging="team=red&stage=a%20b")
    assert deliver(stage)["reason"] == "created"
    assert written_tags(stage, form) == {"team": "red", "stage": "a b"}
    assert deliver(stage)["reason"] == "current"
    tag(stage, {"team": "blue", "new": "1"})
    assert deliver(stage)["reason"] == "metadata_updated"
    assert written_tags(stage, form) == {"team": "blue", "new": "1"}
    stage.clouds.s3.delete_object_tagging(Bucket=SOURCE, Key=stage.key)
    assert deliver(stage)["reason"] == "metadata_updated"
    assert written_tags(stage, form) == {}
    assert deliver(stage)["reason"] == "current"


def test_tags_are_left_alone_where_nobody_asked_for_them(unseen: Stage) -> None:
    put(unseen, 7, Tagging="team=red")
    assert deliver(unseen)["reason"] == "created"
    assert written_tags(unseen, "contexts") == written_tags(unseen, "metadata") == {}
    assert not any("tagging" in seen.target for seen in unseen.seen)


@pytest.mark.parametrize("form", ["contexts", "metadata"])
def test_tags_are_those_of_the_version_that_is_read(unseen: Stage, form: str) -> None:
    stage = unseen
    bucket = f"versioned-{stage.key.split('/')[0]}"
    client = stage.clouds.s3
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    configured(stage, REPLICATE_TAGS=form)
    first = put(stage, 7, bucket, Tagging="of=first")
    second = put(stage, 8, bucket, Tagging="of=second")
    tag(stage, {"of": "changed first"}, bucket, VersionId=first)
    deliver(stage, bucket)
    assert written_tags(stage, form) == {"of": "second"}
    asked = [seen.target for seen in stage.seen if "tagging" in seen.target]
    assert asked
    assert all(f"versionId={second}" in target for target in asked)
    source = stage.clouds.gcs.get(stage.key).json["metadata"]
    assert source["s3-source-version-id"] == second
    client.delete_object(Bucket=bucket, Key=stage.key, VersionId=second)
    deliver(stage, bucket)
    assert written_tags(stage, form) == {"of": "changed first"}


@pytest.mark.parametrize("size", SIZES)
def test_what_gcs_cannot_hold_is_left_out_named_and_does_not_come_up_again(
    unseen: Stage, size: int
) -> None:
    stage = unseen
    configured(stage, REPLICATE_TAGS="contexts")
    put(
        stage,
        size,
        Tagging="plain=kept&empty=&a/b=c",
        ContentLanguage="x" * 101,
        Metadata={"good": "kept", "bad": "=?UTF-8?Q?a=0Ab?="},
    )
    told = deliver(stage)
    assert told["reason"] == "created"
    assert sorted(told["fields_dropped"]) == [
        "content-language",
        "metadata bad",
        "tag a/b",
        "tag empty",
    ]
    resource = stage.clouds.gcs.get(stage.key).json
    assert written_tags(stage, "contexts") == {"plain": "kept"}
    assert "contentLanguage" not in resource
    assert resource["metadata"]["good"] == "kept"
    assert "bad" not in resource["metadata"]
    again = deliver(stage)
    assert (again["status"], again["reason"]) == ("skipped", "current")
    assert stage.clouds.gcs.get(stage.key).json["metageneration"] == "1"


@pytest.mark.parametrize("size", SIZES)
def test_the_storage_class_is_mapped(unseen: Stage, size: int) -> None:
    stage = unseen
    configured(stage, STORAGE_CLASS_MAP="STANDARD_IA=NEARLINE, GLACIER_IR=COLDLINE")
    put(stage, size, StorageClass="STANDARD_IA")
    deliver(stage)
    assert stage.clouds.gcs.get(stage.key).json["storageClass"] == "NEARLINE"
    put(stage, size + 1, StorageClass="GLACIER_IR")
    deliver(stage)
    assert stage.clouds.gcs.get(stage.key).json["storageClass"] == "COLDLINE"
    put(stage, size)
    deliver(stage)
    assert stage.clouds.gcs.get(stage.key).json["storageClass"] == "STANDARD"
