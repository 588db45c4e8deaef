"""`POST /v1/replicate` returns JSON that says what happened and what to do next."""

import base64
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from fakes import PLAIN, FakeGcs, FakeS3, Upload
from memory import Context, FailingSource, MemoryStores, sample_event

from replicate import errors
from replicate.entry.http_api import HttpInvocation
from replicate.errors import ReplicationError
from replicate.protocol.model import Precondition, Replica, SourceRef

REF = SourceRef("source", "key")


def memory_stores(failure: Exception | None = None) -> MemoryStores:
    stores = MemoryStores(
        s3=FakeS3(),
        gcs=FakeGcs(),
        wrap=lambda source: FailingSource(source, {"key": failure} if failure else {}),
    )
    stores.s3.put(REF, b"bytes")
    return stores


def api_request(version: str, body: object, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the event of an HTTP API (version 2.0) or a REST API (version 1.0)."""
    event = sample_event(f"api-v{version[0]}")
    event["body"] = body if isinstance(body, str) or body is None else json.dumps(body)
    event["isBase64Encoded"] = False
    event["headers"] = {"content-type": "application/json"} | fields.get("headers", {})
    if "multiValueHeaders" in event:
        event["multiValueHeaders"] = {k: [v] for k, v in event["headers"].items()}
    if method := fields.get("method"):
        event["httpMethod"] = method
        event["requestContext"].get("http", {})["method"] = method
    if path := fields.get("path"):
        event["path"] = event["rawPath"] = path
        event["requestContext"].get("http", {})["path"] = path
    return event


class HttpResponse:
    def __init__(self, proxied: dict[str, Any]) -> None:
        self.status: int = proxied["statusCode"]
        self.body: dict[str, Any] = json.loads(proxied["body"])
        many = {k: v[0] for k, v in (proxied.get("multiValueHeaders") or {}).items()}
        self.headers: dict[str, str] = many | (proxied.get("headers") or {})


VALID_BODY = {"s3_bucket": "source", "s3_key": "key"}


@pytest.fixture(params=["1.0", "2.0"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def post(
    stores: MemoryStores, event: dict[str, Any], context: Context | None = None
) -> HttpResponse:
    response = HttpResponse(stores.function().handle(event, context or Context()))
    assert response.headers["Content-Type"] == "application/json"
    return response


def test_201_when_the_object_is_replicated_and_200_when_it_is_current(version: str) -> None:
    stores = memory_stores()
    first = post(stores, api_request(version, VALID_BODY))
    assert (first.status, first.body["status"], first.body["reason"]) == (
        201,
        "replicated",
        "created",
    )
    assert first.body["destination"]["uri"] == "gs://replica/key"
    second = post(stores, api_request(version, VALID_BODY))
    assert (second.status, second.body["status"], second.body["reason"]) == (
        200,
        "skipped",
        "current",
    )


def test_404_when_s3_has_no_such_object(version: str) -> None:
    response = post(memory_stores(), api_request(version, VALID_BODY | {"s3_key": "other"}))
    assert response.status == 404
    assert response.body["error"]["code"] == "object_not_found"
    assert "s3://source/other" in response.body["error"]["message"]


def test_key_of_a_request_is_not_decoded(version: str) -> None:
    stores = memory_stores()
    stores.s3.put(SourceRef("source", "a+b%20c ü"), b"odd")
    assert post(stores, api_request(version, VALID_BODY | {"s3_key": "a+b%20c ü"})).status == 201
    assert set(stores.gcs.objects) == {"a+b%20c ü"}


EMPTY = 'The body is empty. Send {"s3_bucket": "…", "s3_key": "…"}.'
UNNAMED = "The field {} is missing, empty or not a string."
NO_BUCKET = "The field s3_bucket is not a valid name of an S3 bucket."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, EMPTY),
        ("", EMPTY),
        ("{", "The body is not JSON: "),
        ("[" * 9000, "The body is not JSON: "),
        ("x" * 20_000, EMPTY.replace("empty", "too long")),
        ([], "The body is not a JSON object."),
        ("null", "The body is not a JSON object."),
        ({}, UNNAMED.format("s3_bucket")),
        ({"s3_bucket": "source"}, UNNAMED.format("s3_key")),
        (VALID_BODY | {"s3_bucket": ""}, UNNAMED.format("s3_bucket")),
        (VALID_BODY | {"s3_bucket": 7}, UNNAMED.format("s3_bucket")),
        (VALID_BODY | {"s3_key": ""}, UNNAMED.format("s3_key")),
        (VALID_BODY | {"s3_key": ["key"]}, UNNAMED.format("s3_key")),
        ('{"s3_bucket": "source", "s3_key": "\\ud800"}', "The field s3_key is not valid Unicode."),
        (VALID_BODY | {"s3_bucket": "No/Bucket"}, NO_BUCKET),
        (VALID_BODY | {"s3_bucket": "ab"}, NO_BUCKET),
        (VALID_BODY | {"s3_bucket": "source\n"}, NO_BUCKET),
        (VALID_BODY | {"s3_key": "k" * 1025}, "1025 bytes"),
        (VALID_BODY | {"s3_key": "a\nb"}, "line break"),
        (VALID_BODY | {"s3_key": ".."}, "'.' or '..'"),
    ],
    # pytest doubles a backslash each time it collects the tests
    ids=lambda value: str(value)[:40].translate({ord("\\"): "<BS>", ord("…"): "..."}),
)
def test_400_names_the_invalid_part_of_the_request(
    version: str, body: object, message: str
) -> None:
    response = post(memory_stores(), api_request(version, body))
    assert response.status == 400
    assert message in response.body["error"]["message"]
    assert response.body["error"]["retryable"] is False


@pytest.mark.parametrize(("bucket", "status"), [("Old_Bucket", 201), ("Older..Bucket", 403)])
def test_scope_decides_on_names_of_old_buckets_in_us_east_1(
    version: str, bucket: str, status: int
) -> None:
    """The rules of today forbid such names. Events of these buckets are accepted, too."""
    stores = memory_stores()
    stores.environ["SOURCE_BUCKETS"] = "Old_Bucket"
    stores.s3.put(SourceRef(bucket, "key"), b"bytes")
    response = post(stores, api_request(version, VALID_BODY | {"s3_bucket": bucket}))
    assert response.status == status


def test_a_request_of_no_object_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="values to unpack"):
        HttpInvocation(messages=(), request_id="id")


def test_fields_beyond_bucket_and_key_are_ignored(version: str) -> None:
    stores = memory_stores()
    stores.gcs.put("other", b"of other origin")
    extra = {"content": "forged", "body": "forged", "name": "other", "destination": "other"}
    assert post(stores, api_request(version, VALID_BODY | extra)).status == 201
    stored = {name: each.data for name, each in stores.gcs.objects.items()}
    assert stored == {"key": b"bytes", "other": b"of other origin"}


def test_no_response_has_bytes_metadata_tags_or_headers_of_the_object(version: str) -> None:
    stores = memory_stores()
    stores.environ = {"REPLICATE_TAGS": "contexts"}
    stores.s3.reads_tags = True
    private = {"private": "PRIVATE", "dropped": "PRIVATE\n"}
    upload = Upload(data=b"PRIVATE", metadata=private, tags=private, cache_control="PRIVATE")
    stores.s3.upload(REF, upload)
    reasons = []
    for overwrite in ("changed", "changed", "never", "own"):
        stores.environ["OVERWRITE"] = overwrite
        if overwrite == "own":
            stores.gcs.put("key", b"PRIVATE", replace(PLAIN, metadata=private))
        response = post(stores, api_request(version, VALID_BODY))
        assert "PRIVATE" not in json.dumps(response.body)
        reasons.append(response.body.get("reason") or response.body["error"]["code"])
    assert reasons == ["created", "current", "exists", "destination_foreign"]
    assert b"PRIVATE" in stores.gcs.objects["key"].data


def test_base64_body_is_decoded(version: str) -> None:
    event = api_request(version, base64.b64encode(json.dumps(VALID_BODY).encode()).decode())
    assert post(memory_stores(), event | {"isBase64Encoded": True}).status == 201


@pytest.mark.parametrize(
    ("body", "message"),
    [("%%%", EMPTY), (base64.b64encode(b"\xff\xfe").decode(), "The body is not text in UTF-8.")],
    ids=["not base64", "not UTF-8"],
)
def test_400_for_a_body_that_cannot_be_decoded(version: str, body: str, message: str) -> None:
    response = post(memory_stores(), api_request(version, body) | {"isBase64Encoded": True})
    assert response.status == 400
    assert response.body["error"]["message"] == message


def test_403_for_a_bucket_that_is_not_in_source_buckets(version: str) -> None:
    response = post(memory_stores(), api_request(version, VALID_BODY | {"s3_bucket": "other"}))
    assert response.status == 403
    assert response.body["error"]["code"] == "source_not_allowed"


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_415_for_other_content_types_than_json(version: str, media_type: str) -> None:
    response = post(
        memory_stores(), api_request(version, VALID_BODY, headers={"content-type": media_type})
    )
    assert response.status == 415


def test_json_content_type_may_have_a_charset(version: str) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert post(memory_stores(), api_request(version, VALID_BODY, headers=headers)).status == 201


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_405_for_other_methods(version: str, method: str) -> None:
    response = post(memory_stores(), api_request(version, VALID_BODY, method=method))
    assert response.status == 405
    assert response.headers["Allow"] == "POST"
    assert method in response.body["error"]["message"]
    assert "/v1/replicate" in response.body["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/replicate/x", "/v2/replicate"])
def test_404_for_other_paths(version: str, path: str) -> None:
    response = post(memory_stores(), api_request(version, VALID_BODY, path=path))
    error = response.body["error"]
    assert (response.status, error["code"]) == (404, "route_not_found")
    assert re.fullmatch(r"There is no /.*\. Use POST /v1/replicate\.", error["message"])


FAILURES: list[tuple[type[ReplicationError], int]] = [
    (errors.SourceForbiddenError, 403),
    (errors.DestinationForbiddenError, 403),
    (errors.SourceBucketNotFoundError, 404),
    (errors.DestinationBucketNotFoundError, 404),
    (errors.SourceArchivedError, 409),
    (errors.ObjectTooLargeError, 413),
    (errors.ThrottledError, 429),
    (errors.CredentialsError, 500),
    (errors.IntegrityError, 502),
    (errors.SourceUnavailableError, 503),
    (errors.DestinationUnavailableError, 503),
    (errors.OutOfTimeError, 504),
]


@pytest.mark.parametrize(("error", "status"), FAILURES, ids=lambda v: getattr(v, "__name__", v))
def test_error_response_has_status_code_and_request_id(
    version: str, error: type[ReplicationError], status: int
) -> None:
    context = Context()
    response = post(
        memory_stores(error("what and what next")), api_request(version, VALID_BODY), context
    )
    assert response.status == status == error.status
    assert response.body == {
        "error": {
            "code": error.code,
            "message": "what and what next",
            "retryable": error.retryable,
        },
        "request_id": context.aws_request_id,
    }
    assert ("Retry-After" in response.headers) == (status in {429, 503})


def test_retry_after_of_the_store_is_returned(version: str) -> None:
    error = errors.SourceUnavailableError("down", retry_after_s=17)
    assert (
        post(memory_stores(error), api_request(version, VALID_BODY)).headers["Retry-After"] == "17"
    )


def test_504_when_the_invocation_is_out_of_time(version: str) -> None:
    response = post(memory_stores(), api_request(version, VALID_BODY), Context(remaining_ms=1000))
    assert (response.status, response.body["error"]["retryable"]) == (504, True)


def test_500_without_a_stack_trace_for_an_unexpected_exception(version: str) -> None:
    response = post(
        memory_stores(ZeroDivisionError("inner detail")), api_request(version, VALID_BODY)
    )
    assert response.status == 500
    assert "inner detail" not in json.dumps(response.body)
    assert "Traceback" not in json.dumps(response.body)


def test_existing_object_is_skipped_when_overwrite_is_never(version: str) -> None:
    stores = memory_stores()
    stores.environ = {"OVERWRITE": "never"}
    stores.gcs.put("key", b"of other origin")
    response = post(stores, api_request(version, VALID_BODY))
    assert (response.status, response.body["reason"]) == (200, "exists")
    assert stores.gcs.objects["key"].data == b"of other origin"


def test_every_error_class_has_its_own_code() -> None:
    def below(kind: type[ReplicationError]) -> list[type[ReplicationError]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in below(sub))]

    tree = below(ReplicationError)
    codes = [kind.code for kind in tree if kind is not errors.InternalError]
    assert len(codes) == len(set(codes)), "InternalError alone shares the base's code"


class HastyUser(FakeGcs):
    """While a run writes, the user deletes the object, then uploads the next one.

    Another run replicates that one first.
    """

    def __init__(self, s3: FakeS3) -> None:
        super().__init__()
        self.stores = MemoryStores(s3=s3, gcs=self, environ={"REPLICATE_DELETES": "true"})
        self.commits = 0

    def commit(self, *arguments: Any, **named: Any) -> Replica:  # noqa: ANN401
        self.commits += 1
        if self.commits == 2:
            self.stores.replicator().replicate(REF)
        written = super().commit(*arguments, **named)
        if self.commits == 1:
            self.stores.s3.delete(REF)
        return written

    def delete(self, name: str, precondition: Precondition) -> None:
        super().delete(name, precondition)
        self.stores.s3.put(REF, b"next")


def test_deletion_that_another_run_has_undone_is_not_reported() -> None:
    """This run took back what it had created. The object is there again, and current."""
    s3 = FakeS3()
    s3.put(REF, b"bytes")
    gcs = HastyUser(s3)
    response = post(gcs.stores, api_request("2.0", VALID_BODY))
    assert gcs.objects["key"].data == b"next"
    assert (response.status, response.body["reason"]) == (200, "current")
    assert response.body["verified_by"] == {"source": "fingerprint", "destination": "fingerprint"}
