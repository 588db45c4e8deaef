"""Partial responses: a client gets the fields that it selects."""

from typing import Any

import pytest
from contract.gcs_http import STEP, Gcs, Upload, noise

RESOURCE = {"metadata": {"a": "1", "b": "2"}, "contexts": {"custom": {"k": {"value": "v"}}}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("name", {"name"}),
        ("name,size,md5Hash", {"name", "size", "md5Hash"}),
        ("componentCount", set()),
        ("name,componentCount", {"name"}),
        ("metadata,metadata/a", {"metadata"}),
    ],
)
def test_a_resource_has_the_fields_that_are_selected(
    gcs: Gcs, name: str, fields: str, expected: set[str]
) -> None:
    whole = gcs.multipart(name, b"data", resource=RESOURCE).json

    assert gcs.get(name, fields=fields).json == {key: whole[key] for key in expected}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("metadata/a", {"metadata": {"a": "1"}}),
        ("metadata(a,b)", {"metadata": {"a": "1", "b": "2"}}),
        ("metadata(a),metadata/b", {"metadata": {"a": "1", "b": "2"}}),
        ("metadata/*", {"metadata": {"a": "1", "b": "2"}}),
        ("contexts/custom/k/value", {"contexts": {"custom": {"k": {"value": "v"}}}}),
        ("contexts(custom/*/value)", {"contexts": {"custom": {"k": {"value": "v"}}}}),
    ],
)
def test_a_selection_reaches_into_a_field(
    gcs: Gcs, name: str, fields: str, expected: dict[str, Any]
) -> None:
    gcs.multipart(name, b"data", resource=RESOURCE)

    assert gcs.get(name, fields=fields).json == expected


def test_a_star_selects_everything(gcs: Gcs, name: str) -> None:
    gcs.multipart(name, b"data", resource=RESOURCE)

    assert gcs.get(name, fields="*").json == gcs.get(name).json


def test_an_upload_answers_with_the_selected_fields(upload: Upload, name: str) -> None:
    reply = upload(name, b"data", {"fields": "name,size"})

    assert reply.json == {"name": name, "size": "4"}


def test_a_session_remembers_the_fields_it_was_started_with(gcs: Gcs, name: str) -> None:
    session = gcs.start(name, {"fields": "size,bucket"})
    expected = {"size": str(STEP), "bucket": gcs.bucket}

    assert gcs.put(session, noise(STEP), f"0-{STEP - 1}/{STEP}").json == expected
    assert gcs.status(session).json == expected


def test_a_change_and_a_copy_answer_with_the_selected_fields(gcs: Gcs, name: str) -> None:
    gcs.media(name, b"data")
    changes, copy = {"metadata": {"a": "b"}}, f"{name}/copy"

    assert gcs.patch(name, changes, fields="metageneration").json == {"metageneration": "2"}
    assert gcs.compose(copy, [{"name": name}], fields="size").json == {"size": "4"}
    rewritten = gcs.rewrite(name, copy, fields="done,resource(name)").json
    assert rewritten == {"done": True, "resource": {"name": copy}}


def test_a_listing_has_the_selected_fields_of_each_object(gcs: Gcs, name: str) -> None:
    for leaf in ("a", "b", "c/1"):
        gcs.media(f"{name}/{leaf}", b"data")
    page: dict[str, object] = {"prefix": f"{name}/", "delimiter": "/", "maxResults": 2}

    first = gcs.listing(**page, fields="items(name,size),nextPageToken,prefixes").json
    assert first.pop("nextPageToken")
    assert first == {"items": [{"name": f"{name}/{leaf}", "size": "4"} for leaf in ("a", "b")]}
    assert gcs.listing(**page, fields="items/size").json == {"items": [{"size": "4"}] * 2}
    del page["maxResults"]
    assert gcs.listing(**page, fields="prefixes").json == {"prefixes": [f"{name}/c/"]}
    assert gcs.listing(prefix=f"{name}/none", fields="items(name)").json == {}


def test_a_bucket_and_its_permissions_have_the_selected_fields(gcs: Gcs) -> None:
    bucket = f"/storage/v1/b/{gcs.bucket}"
    asked = {"permissions": "storage.objects.get", "fields": "permissions"}

    assert gcs.request("GET", bucket, query={"fields": "name"}).json == {"name": gcs.bucket}
    tested = gcs.request("GET", f"{bucket}/iam/testPermissions", query=asked)
    assert tested.json == {"permissions": ["storage.objects.get"]}


@pytest.mark.parametrize(
    "fields",
    [
        "nonsense",
        "name,nonsense",
        "items(name)",
        "name/first",
        "contexts/nonsense",
        "metadata(a",
        "metadata)",
        "name,",
        ",",
        "metadata/",
        "metadata()",
        "name size",
    ],
)
def test_a_selection_that_is_not_one_is_refused(gcs: Gcs, name: str, fields: str) -> None:
    gcs.media(name, b"")

    reply = gcs.get(name, fields=fields)

    assert reply.status == 400
    detail = reply.json["error"]["errors"][0]
    assert (detail["reason"], detail["location"]) == ("invalidParameter", "fields")


def test_nothing_is_written_for_a_selection_that_is_not_one(gcs: Gcs, name: str) -> None:
    query = {"fields": "name,nonsense"}

    assert gcs.media(name, b"", query).status == 400
    assert gcs.multipart(name, b"", query).status == 400
    start = {"uploadType": "resumable", "name": name, **query}
    assert gcs.request("POST", gcs.uploads, query=start, body={}).status == 400
    assert gcs.get(name).status == 404
    gcs.media(name, b"")
    assert gcs.patch(name, {}, **query).status == 400
    assert gcs.get(name).json["metageneration"] == "1"


@pytest.mark.parametrize("query", [{"projection": "full"}, {"projection": "noAcl"}])
def test_the_other_parameters_of_an_answer_are_accepted(
    gcs: Gcs, upload: Upload, name: str, query: dict[str, str]
) -> None:
    query = {**query, "prettyPrint": "false", "alt": "json"}

    assert upload(name, b"", query).json["name"] == name
    assert gcs.get(name, **query).json["name"] == name
    assert gcs.listing(prefix=name, **query).json["items"][0]["name"] == name
    assert gcs.patch(name, {}, **query).json["name"] == name


def test_a_download_ignores_the_selection(gcs: Gcs, name: str) -> None:
    gcs.media(name, b"data")

    assert gcs.download(name, fields="name").body == b"data"
