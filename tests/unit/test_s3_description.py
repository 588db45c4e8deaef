"""What HeadObject and GetObject say about an object, field by field."""

from datetime import UTC, datetime
from typing import Any

import pytest

from replicate.protocol.model import Checksum, EtagKind, SourceObject, SourceRef
from replicate.s3.description import describe, request_id

REF = SourceRef("source", "key")
MD5 = "5d41402abc4b2a76b9719d911017c592"
MODIFIED = datetime(2026, 11, 22, 12, tzinfo=UTC)


def an_output(**said: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of the output
    """Build the least that S3 says, with `said` on top."""
    return {
        "ResponseMetadata": {"HTTPHeaders": {"x-amz-request-id": "ID"}},
        "ETag": f'"{MD5}"',
        "ContentLength": 5,
        "LastModified": MODIFIED,
    } | said


def test_the_least_that_s3_says() -> None:
    assert describe(REF, an_output()) == SourceObject(
        ref=REF, etag=MD5, size=5, last_modified=MODIFIED, etag_kind=EtagKind.MD5
    )
    assert describe(REF, an_output()).request_id == "ID"


def test_everything_that_s3_says() -> None:
    found = describe(
        REF,
        an_output(
            ContentLength=0,
            VersionId="v1",
            ContentType="text/plain",
            CacheControl="no-store",
            ContentDisposition="attachment",
            ContentEncoding="gzip",
            ContentLanguage="de",
            Metadata={"Owner": "Zo\u00c3\u00ab", "empty": ""},
            StorageClass="GLACIER_IR",
            ChecksumCRC32="4waSgw==",
            ChecksumType="FULL_OBJECT",
        ),
    )
    assert found == SourceObject(
        ref=REF,
        etag=MD5,
        size=0,
        last_modified=MODIFIED,
        version_id="v1",
        content_type="text/plain",
        cache_control="no-store",
        content_disposition="attachment",
        content_encoding="gzip",
        content_language="de",
        metadata={"owner": "Zo\u00eb", "empty": ""},
        storage_class="GLACIER_IR",
        checksums=(Checksum("CRC32", "4waSgw==", composite=False),),
        etag_kind=EtagKind.MD5,
    )


@pytest.mark.parametrize(
    ("fields", "is_archived"),
    [
        ({"StorageClass": "DEEP_ARCHIVE"}, True),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="true"'}, True),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="false", expiry-date="x"'}, False),
        ({"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "ARCHIVE_ACCESS"}, True),
        ({"StorageClass": "INTELLIGENT_TIERING"}, False),
        ({"StorageClass": "GLACIER_IR"}, False),
    ],
)
def test_an_archived_object_is_recognized_until_it_is_restored(
    fields: dict[str, str], *, is_archived: bool
) -> None:
    assert describe(REF, an_output(**fields)).is_archived is is_archived


def test_metadata_that_s3_did_not_send_is_counted() -> None:
    """It cannot be a header. S3 has stored it by its SOAP API, or as text that is not UTF-8."""
    assert describe(REF, an_output(MissingMeta=2)).metadata_missing == 2
    assert describe(REF, an_output()).metadata_missing == 0


def test_an_unversioned_object_has_no_version() -> None:
    assert describe(REF, an_output(VersionId="null")).version_id is None


def test_a_response_may_have_no_request_id() -> None:
    assert request_id(an_output(ResponseMetadata={"HTTPHeaders": {}})) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ETag", None),
        ("ETag", ""),
        ("ETag", 7),
        ("ContentLength", None),
        ("ContentLength", "5"),
        ("LastModified", None),
        ("LastModified", "2026"),
    ],
)
def test_a_field_that_is_needed_is_named_when_it_is_missing(field: str, value: object) -> None:
    with pytest.raises(LookupError, match=f"^'?no {field}'?$"):
        describe(REF, an_output(**{field: value}))


@pytest.mark.parametrize(
    ("etag", "said", "kind"),
    [
        (MD5, {}, EtagKind.MD5),
        (f"{MD5}-2", {}, EtagKind.MD5_OF_PARTS),
        (f"{MD5}-12", {}, EtagKind.MD5_OF_PARTS),
        (MD5.upper(), {}, EtagKind.OPAQUE),
        (f"{MD5}0", {}, EtagKind.OPAQUE),
        (f"{MD5}-", {}, EtagKind.OPAQUE),
        (MD5, {"ServerSideEncryption": "AES256"}, EtagKind.MD5),
        (MD5, {"ServerSideEncryption": "aws:kms"}, EtagKind.OPAQUE),
        (f"{MD5}-2", {"ServerSideEncryption": "aws:kms"}, EtagKind.OPAQUE),
        (MD5, {"SSECustomerAlgorithm": "AES256"}, EtagKind.OPAQUE),
        (f"{MD5}-2", {"SSECustomerAlgorithm": "AES256"}, EtagKind.OPAQUE),
    ],
)
def test_an_etag_is_an_md5_unless_a_key_of_kms_or_the_customer_encrypts(
    etag: str, said: dict[str, str], kind: EtagKind
) -> None:
    found = describe(REF, an_output(ETag=f'"{etag}"', **said))
    assert (found.etag, found.etag_kind) == (etag, kind)


@pytest.mark.parametrize(
    ("etag", "value", "kind", "composite"),
    [
        (MD5, "4waSgw==", None, False),
        (MD5, "4waSgw==", "FULL_OBJECT", False),
        (MD5, "4waSgw==", "COMPOSITE", True),
        (MD5, "4waSgw==-2", None, True),
        (MD5, "4waSgw==-2", "FULL_OBJECT", True),
        (f"{MD5}-2", "4waSgw==", None, True),
        (f"{MD5}-2", "4waSgw==", "FULL_OBJECT", False),
    ],
)
def test_a_checksum_is_composite_when_s3_or_its_form_says_so(
    etag: str, value: str, kind: str | None, *, composite: bool
) -> None:
    said = {"ChecksumType": kind} if kind else {}
    found = describe(REF, an_output(ETag=etag, ChecksumCRC32C=value, **said))
    assert found.checksums == (Checksum("CRC32C", value, composite=composite),)


def test_all_checksums_are_described() -> None:
    found = describe(REF, an_output(ChecksumCRC32="4waSgw==", ChecksumSHA1="AAAA"))
    assert [(c.algorithm, c.value) for c in found.checksums] == [
        ("CRC32", "4waSgw=="),
        ("SHA1", "AAAA"),
    ]


def test_a_checksum_that_is_no_base64_is_malformed() -> None:
    with pytest.raises(ValueError, match="base64"):
        describe(REF, an_output(ChecksumCRC32="4w*aSgw=="))


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("plain", "plain"),
        ("=?UTF-8?B?w7w=?=", "\u00fc"),
        ("=?UTF-8?Q?a=C3=BC?=", "a\u00fc"),
        ("=?no such encoding?B?w7w=?=", "=?no such encoding?B?w7w=?="),
        ("=?unknown?B?w7w=?=", "=?unknown?B?w7w=?="),
        ("=?UTF-8?B?w?=", "=?UTF-8?B?w?="),
        ("=? and no more", "=? and no more"),
        ("no more ?=", "no more ?="),
        ("\u00c3\u00bc", "\u00fc"),
        ("\u00fc", "\u00fc"),
        ("\u65e5", "\u65e5"),
    ],
)
def test_text_is_decoded_as_far_as_it_was_encoded(sent: str, meant: str) -> None:
    found = describe(REF, an_output(ContentDisposition=sent, Metadata={"a": sent}))
    assert found.content_disposition == meant
    assert found.metadata == {"a": meant}
