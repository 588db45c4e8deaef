"""The mapping of an S3 object's name, headers and metadata to GCS."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from builders import make_source

from replicate.entry.reading import is_unicode
from replicate.errors import InvalidNameError
from replicate.protocol import mapping
from replicate.protocol.mapping import Naming, Tags, provenance
from replicate.protocol.model import SourceRef

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
def test_replica_has_the_name_of_the_key(key: str) -> None:
    assert NAMING.name(SourceRef("source", key)) == key


def test_prefix_is_put_before_the_key() -> None:
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
def test_key_that_is_no_valid_gcs_name_is_rejected_with_the_reason(key: str, reason: str) -> None:
    with pytest.raises(InvalidNameError, match=reason.replace(".", r"\.")):
        NAMING.name(SourceRef("source", key))


def test_prefix_counts_towards_the_name_limit() -> None:
    with pytest.raises(InvalidNameError, match="1025 bytes"):
        Naming("replica", "p").name(SourceRef("source", "k" * 1024))


def test_provenance_names_the_source_version() -> None:
    source = make_source(
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
def test_provenance_has_the_time_in_utc_in_every_time_zone(hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).astimezone(zone)
    provenance = mapping.provenance(make_source(last_modified=moment))
    assert provenance["s3-source-last-modified"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("code", "is_character"),
    [(0xD7FF, True), (0xD800, False), (0xDFFF, False), (0xE000, True), (0x1F642, True)],
)
def test_half_of_a_character_is_not_unicode(code: int, *, is_character: bool) -> None:
    assert is_unicode(f"a{chr(code)}") == is_character


def test_provenance_has_no_version_id_when_the_source_is_unversioned() -> None:
    assert "s3-source-version-id" not in mapping.provenance(make_source(version_id=None))


def test_headers_and_metadata_are_copied() -> None:
    source = make_source(
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
    ("source_encoding", "stored"),
    [
        ("aws-chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, AWS-Chunked", "gzip"),
        ("br,gzip", "br,gzip"),
        ("", None),
        (None, None),
    ],
)
def test_aws_chunked_is_removed_from_the_content_encoding(
    source_encoding: str | None, stored: str | None
) -> None:
    assert (
        mapping.attributes(make_source(content_encoding=source_encoding)).content_encoding == stored
    )


def test_user_metadata_cannot_override_provenance() -> None:
    source = make_source(metadata={"s3-source-etag": "forged", "s3-source-note": "x", "kept": "y"})
    assert mapping.attributes(source).metadata == {"kept": "y"} | mapping.provenance(source)


def test_user_metadata_cannot_override_tags_that_are_stored_as_metadata() -> None:
    source = make_source(metadata={"s3-tag-team": "forged"}, tags={"owner": "me"})
    stored = {
        tags: dict(mapping.attributes(source, tags).metadata.items() - provenance(source).items())
        for tags in Tags
    }
    assert stored == {
        Tags.OFF: {"s3-tag-team": "forged"},
        Tags.CONTEXTS: {"s3-tag-team": "forged"},
        Tags.METADATA: {"s3-tag-owner": "me"},
    }


def test_replica_is_recognized_by_bucket_and_key() -> None:
    source = make_source()
    written = mapping.attributes(source).metadata
    assert mapping.is_replica_of(written, source.ref)
    assert not mapping.is_replica_of(written, replace(source.ref, key="other"))
    assert not mapping.is_replica_of(written, replace(source.ref, bucket="other"))
    assert not mapping.is_replica_of({}, source.ref)


@pytest.mark.parametrize(("prefix", "key"), [("", ".staging/x"), (".st", "aging/x")])
def test_name_of_a_staged_object_is_refused_with_the_reason(prefix: str, key: str) -> None:
    naming = Naming("replica", prefix, ".staging/")
    with pytest.raises(InvalidNameError, match="are for parts of large objects"):
        naming.name(SourceRef("source", key))
    assert naming.name(SourceRef("source", "x" + key)) == f"{prefix}x{key}"
