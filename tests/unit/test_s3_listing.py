"""Pages of a listing are read as botocore reads them. What is no page is left to botocore."""

from typing import Any
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate.reconcile.rows import SourceRow
from replicate.s3.listing import read_page, rows_of

SESSION = botocore.session.get_session()
SHAPE = SESSION.get_service_model("s3").operation_model("ListObjectsV2").output_shape
PARSER = SESSION.get_component("response_parser_factory").create_parser("rest-xml")

KEYS = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cn"]), min_size=1, max_size=9
)


def described(key: str, *, encoded: bool) -> str:
    text = quote_plus(key, safe="/") if encoded else escape(key, {'"': "&quot;"})
    return f"""<Contents><Key>{text}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>
<ETag>&quot;0123-2&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Size>7</Size>
<Owner><ID>7</ID><DisplayName>me</DisplayName></Owner><StorageClass>GLACIER</StorageClass>
</Contents>"""


def listing(*keys: str, encoded: bool = True, more: str = "") -> str:
    encoding = "<EncodingType>url</EncodingType>" if encoded else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix>
<KeyCount>{len(keys)}</KeyCount><IsTruncated>true</IsTruncated>{encoding}
{"".join(described(key, encoded=encoded) for key in keys)}
<NextContinuationToken>a+b/c=&amp;</NextContinuationToken>{more}</ListBucketResult>
"""


def by_botocore(text: str) -> Any:  # noqa: ANN401
    return PARSER.parse({"status_code": 200, "headers": {}, "body": text.encode()}, SHAPE)


@given(keys=st.lists(KEYS, max_size=4))
def test_page_says_what_botocore_says(keys: list[str]) -> None:
    text = listing(*keys, encoded=False)
    expected = by_botocore(text)

    page = read_page(text.encode())

    assert page
    assert (page["IsTruncated"], page["NextContinuationToken"]) == (True, "a+b/c=&")
    assert rows_of(page) == [
        SourceRow(
            each["Key"],
            each["ETag"].strip('"'),
            each["Size"],
            f"{each['LastModified']:%Y-%m-%dT%H:%M:%SZ}",
            each["StorageClass"],
        )
        for each in expected.get("Contents", ())
    ]
    assert [row.key for row in rows_of(page)] == keys
    assert set(rows_of(page)) <= {
        SourceRow(key, "0123-2", 7, "2026-01-01T00:00:00Z", "GLACIER") for key in keys
    }


@given(keys=st.lists(KEYS, max_size=4))
def test_encoded_keys_are_decoded_once(keys: list[str]) -> None:
    page = read_page(listing(*keys).encode())

    assert page
    assert [row.key for row in page["Rows"]] == keys


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<Error><Code>SlowDown</Code></Error>",
        listing("a")[:-30],
        "<html><ListBucketResult></ListBucketResult></html>",
    ],
    ids=["empty", "an error", "cut", "another document"],
)
def test_unreadable_page_is_left_to_botocore(text: str) -> None:
    assert read_page(text.encode()) is None


def test_last_page_has_no_token() -> None:
    text = listing("a").replace("<IsTruncated>true", "<IsTruncated>false")
    text = text.replace("<NextContinuationToken>a+b/c=&amp;</NextContinuationToken>", "")

    page = read_page(text.encode())

    assert page
    assert page["IsTruncated"] is False
    assert "NextContinuationToken" not in page
