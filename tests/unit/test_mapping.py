"""How an S3 object is described in GCS."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from builders import a_source

from replicate.errors import InvalidNameError
from replicate.protocol import mapping
from replicate.protocol.mapping import Naming, Tags, provenance
from replicate.protocol.model import SourceRef, is_unicode

NAMING = Naming("replica")


@pytest.mark.parametrize(
    "key",
    [
        "plain.txt",
        "a+b%20c d",
        "ünï/cödé/日本語/🙂",
        "e\u0301",
        "//leading/and/trailing//",
        "a/../b/./c",
        "k" * 1024,
        "'quotes\" & <tags>?#;",
        ".well-known/other",
        "\x00\x01",
    ],
)
def test_a_key_is_the_replicas_name_as_it_is(key: str) -> None:
    assert NAMING.name(SourceRef("source", key)) == key


def test_a_prefix_stands_in_front_of_every_name() -> None:
    assert Naming("replica", "backup/").name(SourceRef("source", "k")) == "backup/k"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("k" * 1025, "1025 bytes"),
        ("ü" * 513, "1026 bytes"),
        ("a\nb", "line break"),
        ("a\rb", "line break"),
        (".", "'.' or '..'"),
        ("..", "'.' or '..'"),
        (".well-known/acme-challenge/x", "acme-challenge"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_a_key_that_gcs_cannot_hold_is_refused_with_the_reason(key: str, reason: str) -> None:
    with pytest.raises(InvalidNameError, match=reason.replace(".", r"\.")):
        NAMING.name(SourceRef("source", key))


def test_a_prefix_counts_towards_the_longest_name() -> None:
    with pytest.raises(InvalidNameError, match="1025 bytes"):
        Naming("replica", "p").name(SourceRef("source", "k" * 1024))


def test_provenance_names_the_source_version() -> None:
    source = a_source(
        etag="abc", size=7, version_id="v1", last_modified=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    )
    assert mapping.provenance(source) == {
        "s3-source-bucket": "source",
        "s3-source-key": "key",
        "s3-source-etag": "abc",
        "s3-source-version-id": "v1",
        "s3-source-last-modified": "2026-01-02T03:04:05Z",
        "s3-source-size": "7",
    }


@pytest.mark.usefixtures("in_tokyo")
@pytest.mark.parametrize("hours", [-8, 0, 9])
def test_provenance_states_utc_whatever_the_time_zones_are(hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).astimezone(zone)
    stated = mapping.provenance(a_source(last_modified=moment))["s3-source-last-modified"]
    assert stated == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("code", "is_character"),
    [(0xD7FF, True), (0xD800, False), (0xDFFF, False), (0xE000, True), (0x1F642, True)],
)
def test_half_a_character_is_no_unicode(code: int, *, is_character: bool) -> None:
    assert is_unicode(f"a{chr(code)}") == is_character


def test_an_unversioned_source_has_no_version_in_its_provenance() -> None:
    assert "s3-source-version-id" not in mapping.provenance(a_source(version_id=None))


def test_what_describes_the_content_is_carried_over() -> None:
    source = a_source(
        content_type="text/plain",
        cache_control="no-store",
        content_disposition='attachment; filename="ü.txt"',
        content_language="de",
        content_encoding="gzip",
        metadata={"owner": "Zoë"},
    )
    attributes = mapping.attributes(source)
    assert attributes.content_type == "text/plain"
    assert attributes.cache_control == "no-store"
    assert attributes.content_disposition == 'attachment; filename="ü.txt"'
    assert attributes.content_language == "de"
    assert attributes.content_encoding == "gzip"
    assert attributes.custom_time == source.last_modified
    assert attributes.metadata == {"owner": "Zoë"} | mapping.provenance(source)


@pytest.mark.parametrize(
    ("stated", "stored"),
    [
        ("aws-chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, AWS-Chunked", "gzip"),
        ("br,gzip", "br,gzip"),
        ("", None),
        (None, None),
    ],
)
def test_how_the_bytes_travelled_is_not_what_they_are(
    stated: str | None, stored: str | None
) -> None:
    assert mapping.attributes(a_source(content_encoding=stated)).content_encoding == stored


def test_user_metadata_cannot_pose_as_provenance() -> None:
    posing = a_source(metadata={"s3-source-etag": "forged", "s3-source-note": "x", "kept": "y"})
    assert mapping.attributes(posing).metadata == {"kept": "y"} | mapping.provenance(posing)


def test_user_metadata_cannot_pose_as_tags_where_tags_are_metadata() -> None:
    posing = a_source(metadata={"s3-tag-team": "forged"}, tags={"owner": "me"})
    stored = {
        tags: dict(mapping.attributes(posing, tags).metadata.items() - provenance(posing).items())
        for tags in Tags
    }
    assert stored == {
        Tags.OFF: {"s3-tag-team": "forged"},
        Tags.CONTEXTS: {"s3-tag-team": "forged"},
        Tags.METADATA: {"s3-tag-owner": "me"},
    }


def test_only_a_replica_of_this_very_key_is_ours() -> None:
    source = a_source()
    written = mapping.attributes(source).metadata
    assert mapping.is_replica_of(written, source.ref)
    assert not mapping.is_replica_of(written, replace(source.ref, key="other"))
    assert not mapping.is_replica_of(written, replace(source.ref, bucket="other"))
    assert not mapping.is_replica_of({}, source.ref)
