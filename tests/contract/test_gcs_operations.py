"""Compose, rewrite, list, download, and the little that is needed of buckets."""

import uuid
from typing import Any

import pytest
from contract.gcs_http import STEP, Gcs, crc32c, md5, noise


def test_compose_concatenates_without_an_md5(gcs: Gcs, name: str) -> None:
    parts = [noise(STEP + 1, seed=1), b"", noise(5, seed=2)]
    for number, part in enumerate(parts):
        gcs.media(f"{name}/{number}", part)
    sources = [{"name": f"{name}/{number}"} for number in range(3)]

    reply = gcs.compose(name, sources, {"contentType": "text/x", "metadata": {"a": "b"}})

    whole = b"".join(parts)
    assert reply.status == 200
    assert gcs.download(name).body == whole
    assert (reply.json["crc32c"], reply.json["size"]) == (crc32c(whole), str(len(whole)))
    assert "md5Hash" not in reply.json
    assert reply.json["componentCount"] == 3
    assert (reply.json["contentType"], reply.json["metadata"]) == ("text/x", {"a": "b"})


def test_components_of_components_are_counted(gcs: Gcs, name: str) -> None:
    gcs.media(f"{name}/0", b"0")
    gcs.compose(f"{name}/two", [{"name": f"{name}/0"}] * 2)

    reply = gcs.compose(name, [{"name": f"{name}/two"}, {"name": f"{name}/0"}])

    assert reply.json["componentCount"] == 3
    assert gcs.download(name).body == b"000"


def test_an_object_can_be_composed_onto_itself(gcs: Gcs, name: str) -> None:
    gcs.media(name, b"abc")

    gcs.compose(name, [{"name": name}, {"name": name}])

    assert gcs.download(name).body == b"abcabc"


@pytest.mark.parametrize(("count", "status"), [(0, 400), (1, 200), (32, 200), (33, 400)])
def test_compose_takes_1_to_32_sources(gcs: Gcs, name: str, count: int, status: int) -> None:
    gcs.media(f"{name}/0", b"x")

    assert gcs.compose(name, [{"name": f"{name}/0"}] * count).status == status


def test_compose_of_a_missing_source_is_refused(gcs: Gcs, name: str) -> None:
    assert gcs.compose(name, [{"name": f"{name}/0"}]).status == 404
    assert gcs.get(name).status == 404


def test_compose_takes_preconditions_on_both_sides(gcs: Gcs, name: str) -> None:
    part = gcs.media(f"{name}/0", b"x").json["generation"]
    matching = {"name": f"{name}/0", "objectPreconditions": {"ifGenerationMatch": part}}
    other = {"name": f"{name}/0", "objectPreconditions": {"ifGenerationMatch": "1"}}

    assert gcs.compose(name, [other]).status == 412
    assert gcs.compose(name, [{"name": f"{name}/0", "generation": "1"}]).status == 404
    assert gcs.compose(name, [matching], ifGenerationMatch=0).status == 200
    assert gcs.compose(name, [matching], ifGenerationMatch=0).status == 412


def test_a_composite_has_the_class_that_all_its_sources_share(gcs: Gcs, name: str) -> None:
    for number, storage_class in enumerate(["NEARLINE", "NEARLINE", "STANDARD"]):
        gcs.multipart(f"{name}/{number}", b"x", resource={"storageClass": storage_class})
    cold = [{"name": f"{name}/0"}, {"name": f"{name}/1"}]

    assert gcs.compose(name, cold).json["storageClass"] == "NEARLINE"
    assert gcs.compose(name, [*cold, {"name": f"{name}/2"}]).status == 400


def pinned(gcs: Gcs, name: str, count: int = 2) -> list[dict[str, Any]]:
    """Return sources of a compose, each pinned to its generation."""
    generations = [gcs.media(f"{name}/{n}", b"%d" % n).json["generation"] for n in range(count)]
    return [
        {
            "name": f"{name}/{n}",
            "generation": generation,
            "objectPreconditions": {"ifGenerationMatch": generation},
        }
        for n, generation in enumerate(generations)
    ]


def test_compose_deletes_its_sources_when_it_is_told_to(gcs: Gcs, name: str) -> None:
    sources = pinned(gcs, name)

    assert gcs.compose(f"{name}/kept", sources).status == 200
    assert [gcs.get(source["name"]).status for source in sources] == [200, 200]
    assert gcs.compose(name, sources, delete_sources=True).status == 200
    assert [gcs.get(source["name"]).status for source in sources] == [404, 404]
    assert gcs.download(name).body == b"01"
    assert gcs.compose(name, sources, delete_sources=True).status == 404


def test_a_compose_that_fails_deletes_no_source(gcs: Gcs, name: str) -> None:
    sources = pinned(gcs, name)
    gcs.media(name, b"there")

    assert gcs.compose(name, sources, delete_sources=True, ifGenerationMatch=0).status == 412
    gcs.media(sources[1]["name"], b"newer")
    assert gcs.compose(name, sources, delete_sources=True).status == 404
    assert [gcs.get(source["name"]).status for source in sources] == [200, 200]
    assert gcs.download(name).body == b"there"


def test_a_composite_can_be_a_source_that_is_deleted(gcs: Gcs, name: str) -> None:
    inner = gcs.compose(f"{name}/inner", pinned(gcs, name), delete_sources=True)
    sources = [{"name": f"{name}/inner", "generation": inner.json["generation"]}]

    whole = gcs.compose(name, sources, delete_sources=True)

    assert (whole.json["componentCount"], gcs.download(name).body) == (2, b"01")
    assert [item["name"] for item in gcs.listing(prefix=name).json["items"]] == [name]


def test_a_rewrite_copies_bytes_and_metadata(gcs: Gcs, name: str) -> None:
    gcs.multipart(name, b"data", resource={"metadata": {"a": "b"}, "contentLanguage": "de"})

    reply = gcs.rewrite(name, f"{name}/copy")

    assert reply.json["done"] is True
    assert reply.json["totalBytesRewritten"] == reply.json["objectSize"] == "4"
    copied = reply.json["resource"]
    assert (copied["metadata"], copied["contentLanguage"]) == ({"a": "b"}, "de")
    assert copied["md5Hash"] == md5(b"data")
    gcs.delete(name)
    assert gcs.download(f"{name}/copy").body == b"data"


def test_metadata_given_to_a_rewrite_replaces_the_sources(gcs: Gcs, name: str) -> None:
    gcs.multipart(name, b"data", resource={"metadata": {"a": "b"}, "contentLanguage": "de"})

    given = {"metadata": {"c": "d"}, "storageClass": "COLDLINE"}
    copied = gcs.rewrite(name, f"{name}/copy", given).json["resource"]

    assert (copied["metadata"], copied["storageClass"]) == ({"c": "d"}, "COLDLINE")
    assert "contentLanguage" not in copied


def test_a_rewrite_takes_preconditions_on_both_sides(gcs: Gcs, name: str) -> None:
    generation = gcs.media(name, b"data").json["generation"]
    copy = f"{name}/copy"

    assert gcs.rewrite(name, copy, ifSourceGenerationMatch=1).status == 412
    assert gcs.rewrite(name, copy, ifSourceMetagenerationMatch=2).status == 412
    assert gcs.rewrite(name, copy, sourceGeneration=1).status == 404
    assert gcs.rewrite(f"{name}/none", copy).status == 404
    right = {"sourceGeneration": generation, "ifGenerationMatch": 0}
    assert gcs.rewrite(name, copy, **right).status == 200
    assert gcs.rewrite(name, copy, **right).status == 412


def test_a_rewrite_onto_itself_is_a_new_generation(gcs: Gcs, name: str) -> None:
    generation = gcs.media(name, b"data").json["generation"]

    copied = gcs.rewrite(name, name, {"storageClass": "NEARLINE"}).json["resource"]

    assert int(copied["generation"]) > int(generation)
    assert gcs.download(name).body == b"data"


def test_a_listing_has_prefixes_and_delimiters(gcs: Gcs, name: str) -> None:
    for leaf in ("a", "b/1", "b/2", "c//x", "d"):
        gcs.media(f"{name}/{leaf}", b"")

    reply = gcs.listing(prefix=f"{name}/", delimiter="/").json

    assert [item["name"] for item in reply["items"]] == [f"{name}/a", f"{name}/d"]
    assert reply["prefixes"] == [f"{name}/b/", f"{name}/c/"]
    assert "items" not in gcs.listing(prefix=f"{name}/none").json


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_a_listing_comes_in_pages_that_lose_nothing(gcs: Gcs, name: str, delimiter: str) -> None:
    leaves = ["a", "b/1", "b/2", "b/3", "c", "é", "🚀"]
    for leaf in leaves:
        gcs.media(f"{name}/{leaf}", b"")
    seen: list[str] = []
    query: dict[str, object] = {"prefix": f"{name}/", "delimiter": delimiter, "maxResults": 2}
    while True:
        page = gcs.listing(**query).json
        found = [item["name"] for item in page.get("items", [])] + page.get("prefixes", [])
        assert len(found) <= 2
        seen += sorted(found)
        if "nextPageToken" not in page:
            break
        query["pageToken"] = page["nextPageToken"]

    expected = ["a", "b/", "c", "é", "🚀"] if delimiter else leaves
    assert seen == [f"{name}/{leaf}" for leaf in expected]


def test_a_listing_can_start_and_end_anywhere(gcs: Gcs, name: str) -> None:
    for leaf in "abcd":
        gcs.media(f"{name}/{leaf}", b"")

    reply = gcs.listing(prefix=name, startOffset=f"{name}/b", endOffset=f"{name}/d").json

    assert [item["name"] for item in reply["items"]] == [f"{name}/b", f"{name}/c"]


def test_a_download_names_generation_and_checksums(gcs: Gcs, name: str) -> None:
    generation = gcs.media(name, b"data", headers={"Content-Type": "text/x"}).json["generation"]

    reply = gcs.download(name)

    assert reply.headers["X-Goog-Generation"] == generation
    assert f"crc32c={crc32c(b'data')}" in ",".join(reply.headers.get_all("X-Goog-Hash") or [])
    assert reply.headers["Content-Type"] == "text/x"


@pytest.mark.parametrize(
    ("span", "expected", "content_range"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=5-99", b"56789", "bytes 5-9/10"),
    ],
)
def test_a_download_can_be_of_a_part(
    gcs: Gcs, name: str, span: str, expected: bytes, content_range: str
) -> None:
    gcs.media(name, b"0123456789")

    reply = gcs.download(name, {"Range": span})

    assert (reply.status, reply.body) == (206, expected)
    assert reply.headers["Content-Range"] == content_range


def test_a_part_beyond_the_end_is_refused(gcs: Gcs, name: str) -> None:
    gcs.media(name, b"0123456789")

    assert gcs.download(name, {"Range": "bytes=10-"}).status == 416


def test_a_bucket_is_there_with_all_permissions(gcs: Gcs) -> None:
    bucket = f"/storage/v1/b/{gcs.bucket}"
    wanted = ["storage.objects.create", "storage.objects.delete"]
    query = "&".join(f"permissions={permission}" for permission in wanted)

    assert gcs.request("GET", bucket).json["name"] == gcs.bucket
    assert gcs.request("GET", f"{bucket}/iam/testPermissions?{query}").json["permissions"] == wanted


def test_a_missing_bucket_is_not_found(gcs: Gcs) -> None:
    missing = f"/storage/v1/b/missing-{uuid.uuid4().hex}"

    for path in (missing, f"{missing}/o", f"{missing}/o/name"):
        reply = gcs.request("GET", path)
        assert (reply.status, reply.json["error"]["code"]) == (404, 404)
