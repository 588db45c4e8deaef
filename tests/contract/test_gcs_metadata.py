"""Metadata: what is said about an object is kept, changed and limited as GCS does it."""

from typing import Any

import pytest
from contract.gcs_http import Gcs, Upload

DESCRIBED = {
    "contentType": "text/plain; charset=utf-8",
    "contentEncoding": "br",
    "contentDisposition": 'attachment; filename="ü.txt"',
    "contentLanguage": "de",
    "cacheControl": "no-cache",
    "customTime": "2020-02-03T04:05:06.789Z",
    "storageClass": "NEARLINE",
    "metadata": {"key": "välue", "Key": "other", "empty": ""},
}


def test_everything_said_at_the_upload_is_kept(
    gcs: Gcs, described_upload: Upload, name: str
) -> None:
    described_upload(name, b"data", resource=DESCRIBED)

    kept = gcs.get(name).json
    assert {key: kept.get(key) for key in DESCRIBED} == DESCRIBED


def test_a_new_object_has_all_the_fields_that_describe_it(gcs: Gcs, name: str) -> None:
    resource = gcs.media(name, b"").json

    assert resource["kind"] == "storage#object"
    assert (resource["bucket"], resource["name"]) == (gcs.bucket, name)
    assert resource["id"] == f"{gcs.bucket}/{name}/{resource['generation']}"
    assert (resource["size"], resource["metageneration"]) == ("0", "1")
    assert resource["storageClass"] == "STANDARD"
    assert resource["contentType"] == "application/octet-stream"
    assert resource["etag"]
    for time in ("timeCreated", "updated", "timeStorageClassUpdated"):
        assert resource[time].endswith("Z")


def test_the_links_in_a_resource_lead_to_the_object(gcs: Gcs, name: str) -> None:
    resource = gcs.media(f"{name} ü", b"data").json

    assert gcs.request("GET", resource["selfLink"]).json == resource
    assert gcs.request("GET", resource["mediaLink"]).body == b"data"


def test_object_contexts_are_kept_changed_and_removed(gcs: Gcs, name: str) -> None:
    contexts = {"custom": {"source": {"value": "s3"}, "gone": {"value": "soon"}}}
    gcs.multipart(name, b"", resource={"contexts": contexts})

    gcs.patch(name, {"contexts": {"custom": {"gone": None, "new": {"value": "here"}}}})
    custom = gcs.get(name).json["contexts"]["custom"]
    assert {key: entry["value"] for key, entry in custom.items()} == {"source": "s3", "new": "here"}
    assert gcs.patch(name, {"contexts": {"custom": None}}).json.get("contexts") is None


LONGEST = {f"k{number:02}" + "k" * 253: "v" * 256 for number in range(50)}
"""Fifty contexts with 25,600 bytes: GCS allows 25 KiB in all."""

BAD_CONTEXTS = [
    pytest.param({"": "v"}, "256", id="empty key"),
    pytest.param({"k": ""}, "256", id="empty value"),
    pytest.param({"k" * 257: "v"}, "256", id="long key"),
    pytest.param({"k": "ü" * 128 + "v"}, "256", id="long value in UTF-8"),
    pytest.param({"_k": "v"}, "alphanumeric", id="first character of a key"),
    pytest.param({"k": "-v"}, "alphanumeric", id="first character of a value"),
    *(
        pytest.param(pair, "contain", id=f"{mark} in a {kind}")
        for mark in ("'", '"', "\\", "/")
        for kind, pair in (("key", {f"k{mark}": "v"}), ("value", {"k": f"v{mark}"}))
    ),
    pytest.param({"google": "v"}, "goog", id="reserved prefix"),
    pytest.param({f"k{number}": "v" for number in range(51)}, "50", id="51 contexts"),
]


def contexts(pairs: dict[str, str]) -> dict[str, Any]:
    """Return the part of a resource that holds these contexts."""
    return {"contexts": {"custom": {key: {"value": value} for key, value in pairs.items()}}}


@pytest.mark.parametrize(("pairs", "rule"), BAD_CONTEXTS)
def test_an_object_context_that_breaks_a_rule_is_refused_by_its_name(
    gcs: Gcs, name: str, pairs: dict[str, str], rule: str
) -> None:
    reply = gcs.multipart(name, b"", resource=contexts(pairs))

    assert (reply.status, reply.json["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert rule in reply.json["error"]["message"]
    assert gcs.get(name).status == 404


def test_object_contexts_are_checked_wherever_they_are_written(gcs: Gcs, name: str) -> None:
    bad, started = contexts({"k": "a/b"}), {"uploadType": "resumable"}
    gcs.multipart(name, b"", resource=contexts({"k": "v"}))
    source = [{"name": name}]

    start = gcs.request("POST", gcs.uploads, query=started, body={"name": name, **bad})
    assert start.status == 400
    assert gcs.patch(name, bad).status == 400
    assert gcs.compose(f"{name}/composed", source, bad).status == 400
    assert gcs.rewrite(name, f"{name}/copy", bad).status == 400
    assert gcs.get(name).json["contexts"]["custom"]["k"]["value"] == "v"


def test_the_largest_object_contexts_are_kept_and_a_patch_cannot_add_more(
    gcs: Gcs, name: str
) -> None:
    assert gcs.multipart(name, b"", resource=contexts(LONGEST)).status == 200
    custom = gcs.get(name).json["contexts"]["custom"]

    assert {key: entry["value"] for key, entry in custom.items()} == LONGEST
    assert gcs.patch(name, contexts({"one": "more"})).status == 400


def test_contexts_of_unusual_but_allowed_characters_are_kept(gcs: Gcs, name: str) -> None:
    pairs = {"Ü key.:@+=": "1 värde_-"}

    custom = gcs.multipart(name, b"", resource=contexts(pairs)).json["contexts"]["custom"]

    assert {key: entry["value"] for key, entry in custom.items()} == pairs


def test_a_patch_keeps_what_it_does_not_name(gcs: Gcs, name: str) -> None:
    before = gcs.multipart(name, b"", resource=DESCRIBED).json

    after = gcs.patch(name, {"contentLanguage": "fr"}).json

    assert after["contentLanguage"] == "fr"
    assert after["generation"] == before["generation"]
    assert after["metageneration"] == "2"
    assert after["etag"] != before["etag"]
    for key in DESCRIBED.keys() - {"contentLanguage"}:
        assert after[key] == DESCRIBED[key]


def test_a_patch_removes_what_is_null(gcs: Gcs, name: str) -> None:
    gcs.multipart(name, b"", resource=DESCRIBED)

    after = gcs.patch(name, {"contentLanguage": None, "metadata": {"key": None, "n": "1"}}).json
    assert "contentLanguage" not in after
    assert after["metadata"] == {"Key": "other", "empty": "", "n": "1"}
    assert "metadata" not in gcs.patch(name, {"metadata": None}).json


def test_an_overwrite_keeps_nothing(gcs: Gcs, name: str) -> None:
    gcs.multipart(name, b"one", resource=DESCRIBED)

    after = gcs.multipart(name, b"two").json

    assert "metadata" not in after
    assert (after["storageClass"], after["metageneration"]) == ("STANDARD", "1")


def test_a_patch_cannot_change_what_the_server_decides(gcs: Gcs, name: str) -> None:
    before = gcs.media(name, b"data").json
    fixed = ("name", "bucket", "size", "crc32c", "md5Hash", "generation", "timeCreated")

    gcs.patch(name, dict.fromkeys(fixed, "1"))

    after = gcs.get(name).json
    assert {key: after[key] for key in fixed} == {key: before[key] for key in fixed}


@pytest.mark.parametrize("changed", [None, "2020-02-03T04:05:06Z"])
def test_a_custom_time_never_goes_back(gcs: Gcs, name: str, changed: str | None) -> None:
    gcs.multipart(name, b"", resource={"customTime": "2021-01-01T00:00:00Z"})

    assert gcs.patch(name, {"customTime": changed}).status == 400
    assert gcs.patch(name, {"customTime": "2022-01-01T01:00:00+01:00"}).status == 200
    assert gcs.get(name).json["customTime"].startswith("2022-01-01T00:00:00")


@pytest.mark.parametrize(
    "resource",
    [
        {"customTime": "yesterday"},
        {"customTime": "2020-02-03"},
        {"customTime": "2020-02-03T04:05:06"},
        {"storageClass": "GLACIER"},
        {"metadata": {"nested": {"no": "way"}}},
        {"metadata": {"k": "v" * 8192}},
        {"metadata": {f"key{n}": "v" * 80 for n in range(100)}},
        {"contentType": 7},
        {"contentLanguage": "l" * 101},
    ],
    ids=lambda resource: str(resource)[:40],
)
def test_metadata_that_is_not_allowed_is_refused(
    gcs: Gcs, name: str, resource: dict[str, Any]
) -> None:
    assert gcs.multipart(name, b"", resource=resource).status == 400
    assert gcs.get(name).status == 404


def test_eight_kib_of_custom_metadata_are_allowed_and_not_a_byte_more(gcs: Gcs, name: str) -> None:
    exact = {"k": "ü" * 4095 + "x"}  # keys and values count, in UTF-8

    assert gcs.multipart(name, b"", resource={"metadata": exact}).status == 200
    assert gcs.patch(name, {"metadata": {"l": ""}}).status == 400
    assert gcs.get(name).json["metadata"] == exact


def test_a_content_language_has_at_most_100_characters(gcs: Gcs, name: str) -> None:
    longest = "ü" * 100

    assert gcs.multipart(name, b"", resource={"contentLanguage": longest}).status == 200
    assert gcs.patch(name, {"contentLanguage": longest + "x"}).status == 400
    assert gcs.get(name).json["contentLanguage"] == longest


def test_a_patch_of_a_missing_object_is_refused(gcs: Gcs, name: str) -> None:
    assert gcs.patch(name, {"metadata": {}}).status == 404


def test_a_body_that_is_not_json_is_refused(gcs: Gcs, name: str) -> None:
    gcs.media(name, b"")

    assert gcs.request("PATCH", gcs.path(name), body=b"{").status == 400
    assert gcs.request("PATCH", gcs.path(name), body=b"[]").status == 400
