"""The benchmark's listings of millions of objects."""

import base64
import json
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tools.benchmarks.servers.listing import Listed, damages, list_gcs, list_s3
from tools.benchmarks.servers.pace import Pace
from tools.benchmarks.servers.web import Body, Request, Response

COUNT = 12_500
PREFIX = f"list-{COUNT}-5000/"
LISTED = Listed(PREFIX, COUNT, 5000)
MISSING, DIFFERENT = [13], [1042]

Page = tuple[list[Any], str | None]


def ask(answer: Callable[[Listed, Request], Response], **query: str) -> bytes:
    body = Body(BytesIO(), {}, Pace(lambda: 0))
    dashed = {name.replace("_", "-"): value for name, value in query.items()}
    response = answer(LISTED, Request("GET", "/", {"prefix": PREFIX, **dashed}, {}, body))
    assert isinstance(response.body, bytes)
    return response.body


def s3_page(**query: str) -> Page:
    xml = ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", ask(list_s3, **query)))  # noqa: S314 - ours
    rows = [{field.tag: field.text for field in row} for row in xml.iter("Contents")]
    return rows, xml.findtext("NextContinuationToken")


def gcs_page(**query: str) -> Page:
    page = json.loads(ask(list_gcs, fields="items(name,size,md5Hash,metadata)", **query))
    return page.get("items", []), page.get("nextPageToken")


def walk(page: Callable[..., Page], token_name: str, **query: str) -> list[Any]:
    rows, token = page(**query)
    while token:
        more, token = page(**query, **{token_name: token})
        rows += more
    return rows


@pytest.fixture(scope="module")
def sources() -> list[Any]:
    return walk(s3_page, "continuation-token")


def test_both_sides_list_the_same_objects_but_for_the_damages(sources: list[Any]) -> None:
    replicas = {row["name"]: row for row in walk(gcs_page, "pageToken")}
    keys = [row["Key"] for row in sources]
    assert keys == [LISTED[number] for number in range(COUNT)]
    assert keys == sorted(keys)
    assert [n for n, key in enumerate(keys) if key not in replicas] == MISSING
    assert damages(COUNT) == (len(MISSING), len(DIFFERENT))
    assert damages(900) == (1, 0)
    assert damages(1_000_000) == (10, 10)
    different = []
    for number, row in enumerate(sources):
        if replica := replicas.get(row["Key"]):
            assert set(replica) == {"name", "size", "md5Hash", "metadata"}, "what was asked for"
            metadata, etag = replica["metadata"], row["ETag"].strip('"')
            assert metadata["s3-source-key"] == row["Key"]
            assert metadata["s3-source-etag"] == etag
            assert base64.b64decode(replica["md5Hash"]).hex() == etag
            different += [number] * (row["Size"] != replica["size"])
    assert different == DIFFERENT
    assert len({row["ETag"] for row in sources}) == len(sources)


@pytest.mark.parametrize(
    "after", [f"{PREFIX}000001/000000006998", f"{PREFIX}00000", f"{PREFIX}zzz"], ids=str
)
def test_range_begins_and_ends_at_any_text(sources: list[Any], after: str) -> None:
    keys = [row["Key"] for row in sources]
    found = walk(s3_page, "continuation-token", start_after=after)
    assert [row["Key"] for row in found] == [key for key in keys if key > after]
    until = f"{PREFIX}000002/"
    replicas = walk(gcs_page, "pageToken", startOffset=after, endOffset=until)
    lacking = {keys[number] for number in MISSING}
    assert [row["name"] for row in replicas] == [
        key for key in keys if after <= key < until and key not in lacking
    ]


def test_one_row_is_a_page_of_one() -> None:
    rows, token = s3_page(max_keys="1", start_after=f"{PREFIX}000002/")
    assert [row["Key"] for row in rows] == [f"{PREFIX}000002/000000010000"]
    assert token == "10001"
