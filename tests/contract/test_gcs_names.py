"""Names: any that GCS allows goes there and back; those it forbids are refused."""

from typing import Any
from urllib.parse import urlencode

import pytest
from contract.gcs_http import Gcs, Upload

ODD = [
    "a space",
    " spaces around ",
    "100%",
    "%2F%25",
    "a+b",
    "hash#mark",
    "question?mark&amp;=",
    "quo'tes\"",
    "back\\slash",
    "ünïcödé/日本語/🚀",
    "e\u0301 decomposed",
    "tab\tand\x01control",
    "/leading",
    "trailing/",
    "double//slash",
    "//",
    "./a",
    "a/../b",
    "a/.",
    "x/acl",
    "x/compose",
    "o/rewriteTo/b/c/o/d",
    "{}[]<>|^`~",
    "semi;colon,comma:colon@at$dollar!",
]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_name_goes_there_and_back(gcs: Gcs, upload: Upload, name: str, odd: str) -> None:
    full = f"{name}/{odd}"

    assert upload(full, odd.encode()).json["name"] == full
    assert gcs.download(full).body == odd.encode()
    assert [item["name"] for item in gcs.listing(prefix=full).json["items"]] == [full]
    assert gcs.patch(full, {"metadata": {"a": "b"}}).status == 200
    assert gcs.delete(full).status == 204
    assert gcs.get(full).status == 404


@pytest.mark.parametrize("odd", ["/", "...", "a", "é" * 512, "x" * 1024, "..a", ".well-known/x"])
def test_a_name_may_stand_alone(gcs: Gcs, upload: Upload, odd: str) -> None:
    assert upload(odd, b"data").status == 200
    assert gcs.download(odd).body == b"data"
    assert gcs.delete(odd).status == 204


def test_names_that_only_look_alike_are_different_objects(gcs: Gcs, name: str) -> None:
    alike = [f"{name}/\u00e9", f"{name}/e\u0301", f"{name}/%C3%A9", f"{name}//é", f"{name}/É"]
    for one in alike:
        gcs.media(one, one.encode())

    assert [gcs.download(one).body for one in alike] == [one.encode() for one in alike]


@pytest.mark.parametrize(
    "forbidden",
    ["", ".", "..", "a\rb", "a\nb", "x" * 1025, "é" * 513, ".well-known/acme-challenge/x"],
)
@pytest.mark.parametrize("upload_type", ["media", "resumable"])
def test_a_forbidden_name_is_refused(gcs: Gcs, forbidden: str, upload_type: str) -> None:
    query = {"uploadType": upload_type, "name": forbidden}

    assert gcs.request("POST", gcs.uploads, query=query, body=b"{}").status == 400


@pytest.mark.parametrize("resource", [{}, {"name": 7}])
def test_an_upload_needs_a_name(gcs: Gcs, resource: dict[str, Any]) -> None:
    query = {"uploadType": "resumable"}

    assert gcs.request("POST", gcs.uploads, query=query, body=resource).status == 400


def test_a_name_that_is_not_utf8_is_refused(gcs: Gcs) -> None:
    query = urlencode({"uploadType": "media", "name": b"\xff"})

    assert gcs.request("POST", f"{gcs.uploads}?{query}", body=b"").status == 400
    assert gcs.request("GET", gcs.path("x") + "%FF").status == 400
