"""Media and multipart uploads: the bytes sent are the object, or there is no object."""

import pytest
from contract.gcs_http import KIB, Gcs, Upload, crc32c, md5, noise

AWKWARD = [
    pytest.param(b"", id="no bytes"),
    pytest.param(b"\x00\r\n--frontier\r\n\xff", id="almost the delimiter"),
    pytest.param(b"--frontier\r\n\r\n", id="a boundary at the start"),
    pytest.param(b"\r\n\r\n" * 3, id="empty lines"),
    pytest.param(noise(3 * 1024 * KIB + 7), id="three MiB and some"),
]


@pytest.mark.parametrize("data", AWKWARD)
def test_what_is_uploaded_is_what_is_downloaded(
    gcs: Gcs, upload: Upload, name: str, data: bytes
) -> None:
    reply = upload(name, data)

    assert reply.status == 200
    assert gcs.download(name).body == data
    assert reply.json["size"] == str(len(data))
    assert (reply.json["crc32c"], reply.json["md5Hash"]) == (crc32c(data), md5(data))


def test_the_answer_to_an_upload_is_the_resource(gcs: Gcs, upload: Upload, name: str) -> None:
    assert upload(name, b"data").json == gcs.get(name).json


def test_an_upload_replaces_the_object_under_a_higher_generation(
    gcs: Gcs, upload: Upload, name: str
) -> None:
    first, second = upload(name, b"one"), upload(name, b"two")

    assert int(second.json["generation"]) > int(first.json["generation"])
    assert gcs.download(name).body == b"two"
    assert gcs.get(name, generation=first.json["generation"]).status == 404


def test_a_part_without_its_closing_delimiter_leaves_no_object(gcs: Gcs, name: str) -> None:
    body = f'--x\r\n\r\n{{"name": "{name}"}}\r\n--x\r\n\r\ndata\r\n--x'.encode()

    reply = gcs.request(
        "POST",
        gcs.uploads,
        query={"uploadType": "multipart"},
        headers={"Content-Type": "multipart/related; boundary=x"},
        body=body,
    )

    assert reply.status == 400
    assert gcs.get(name).status == 404


@pytest.mark.parametrize("upload_type", ["media", "multipart"])
def test_a_connection_that_breaks_leaves_no_object(gcs: Gcs, name: str, upload_type: str) -> None:
    connection = gcs.connect()
    target = gcs.target(gcs.uploads, {"uploadType": upload_type, "name": name})
    connection.putrequest("POST", target)
    connection.putheader("Authorization", f"Bearer {gcs.token}")
    connection.putheader("Content-Type", "multipart/related; boundary=frontier")
    connection.putheader("Content-Length", str(1024 * KIB))
    connection.endheaders()
    connection.send(b"--frontier\r\n\r\n{}\r\n--frontier\r\n\r\n" + noise(600 * KIB))
    connection.close()

    assert gcs.stays_missing(name)


def test_a_media_upload_in_chunks_is_complete(gcs: Gcs, name: str) -> None:
    query = {"uploadType": "media", "name": name}

    reply = gcs.request("POST", gcs.uploads, query=query, body=iter([b"one", b"two", b"three"]))

    assert reply.json["size"] == "11"


def test_the_part_names_the_content_type_where_the_resource_does_not(gcs: Gcs, name: str) -> None:
    uploaded = gcs.multipart(name, b"", part_type="text/x-part")

    assert uploaded.json["contentType"] == "text/x-part"


@pytest.mark.parametrize("part_type", [None, "text/x", "text/ü"])
def test_the_resource_names_the_content_type_where_the_part_agrees(
    gcs: Gcs, name: str, part_type: str | None
) -> None:
    stated = part_type or "text/x"

    uploaded = gcs.multipart(name, b"", resource={"contentType": stated}, part_type=part_type)

    assert uploaded.json["contentType"] == stated


def test_a_part_with_another_content_type_than_the_resource_is_refused(gcs: Gcs, name: str) -> None:
    refused = gcs.multipart(
        name, b"data", resource={"contentType": "text/x"}, part_type="application/octet-stream"
    )

    assert (refused.status, refused.json["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert "Content-Type" in refused.json["error"]["message"]
    assert gcs.get(name).status == 404


def test_a_media_upload_has_the_content_type_of_its_header(gcs: Gcs, name: str) -> None:
    assert gcs.media(name, b"", headers={"Content-Type": "image/x"}).json["contentType"] == (
        "image/x"
    )


def test_an_upload_into_a_missing_bucket_is_refused(gcs: Gcs, name: str) -> None:
    reply = gcs.request(
        "POST",
        "/upload/storage/v1/b/no-such-bucket-0d1c/o",
        query={"uploadType": "media", "name": name},
        body=b"data",
    )

    assert reply.status == 404
    assert reply.json["error"]["errors"][0]["reason"] == "notFound"
