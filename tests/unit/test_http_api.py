"""`POST /v1/replicate`: every answer is JSON that says what happened and what to do next."""

import base64
import json
from typing import Any

import pytest
from fakes import FakeGcs, FakeS3
from memory import Context, Failing, MemoryStores, a_sample

from replicate import errors
from replicate.errors import ReplicationError
from replicate.protocol.model import SourceRef

REF = SourceRef("source", "key")


def stores(failure: Exception | None = None) -> MemoryStores:
    made = MemoryStores(
        s3=FakeS3(),
        gcs=FakeGcs(),
        wrap=lambda source: Failing(source, {"key": failure} if failure else {}),
    )
    made.s3.put(REF, b"bytes")
    return made


def a_request(version: str, body: object, **said: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """A request as API Gateway proxies it, by an HTTP API (2.0) or a REST API (1.0)."""
    event = a_sample(f"api-v{version[0]}")
    event["body"] = body if isinstance(body, str) or body is None else json.dumps(body)
    event["isBase64Encoded"] = False
    event["headers"] = {"content-type": "application/json"} | said.get("headers", {})
    if "multiValueHeaders" in event:
        event["multiValueHeaders"] = {k: [v] for k, v in event["headers"].items()}
    if method := said.get("method"):
        event["httpMethod"] = method
        event["requestContext"].get("http", {})["method"] = method
    if path := said.get("path"):
        event["path"] = event["rawPath"] = path
        event["requestContext"].get("http", {})["path"] = path
    return event


class Answer:
    def __init__(self, proxied: dict[str, Any]) -> None:
        self.status: int = proxied["statusCode"]
        self.body: dict[str, Any] = json.loads(proxied["body"])
        many = {k: v[0] for k, v in (proxied.get("multiValueHeaders") or {}).items()}
        self.headers: dict[str, str] = many | (proxied.get("headers") or {})


GOOD = {"s3_bucket": "source", "s3_key": "key"}


@pytest.fixture(params=["1.0", "2.0"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(made: MemoryStores, event: dict[str, Any], context: Context | None = None) -> Answer:
    answer = Answer(made.function().handle(event, context or Context()))
    assert answer.headers["Content-Type"] == "application/json"
    return answer


def test_201_when_it_replicated_and_200_when_it_was_there(version: str) -> None:
    made = stores()
    first = ask(made, a_request(version, GOOD))
    assert (first.status, first.body["status"], first.body["reason"]) == (
        201,
        "replicated",
        "created",
    )
    assert first.body["destination"]["uri"] == "gs://replica/key"
    second = ask(made, a_request(version, GOOD))
    assert (second.status, second.body["status"], second.body["reason"]) == (
        200,
        "skipped",
        "current",
    )


def test_404_when_s3_has_no_such_object(version: str) -> None:
    answer = ask(stores(), a_request(version, GOOD | {"s3_key": "other"}))
    assert answer.status == 404
    assert answer.body["error"]["code"] == "object_not_found"
    assert "s3://source/other" in answer.body["error"]["message"]


def test_the_key_of_a_request_is_not_decoded(version: str) -> None:
    made = stores()
    made.s3.put(SourceRef("source", "a+b%20c ü"), b"odd")
    assert ask(made, a_request(version, GOOD | {"s3_key": "a+b%20c ü"})).status == 201
    assert set(made.gcs.objects) == {"a+b%20c ü"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (None, "empty"),
        ("", "empty"),
        ("{", "not JSON"),
        ("[" * 9000, "not JSON"),
        ("x" * 20_000, "too long"),
        ([], "not a JSON object"),
        ("null", "not a JSON object"),
        ({}, "s3_bucket"),
        ({"s3_bucket": "source"}, "s3_key"),
        (GOOD | {"s3_bucket": ""}, "s3_bucket"),
        (GOOD | {"s3_bucket": 7}, "s3_bucket"),
        (GOOD | {"s3_key": ""}, "s3_key"),
        (GOOD | {"s3_key": ["key"]}, "s3_key"),
        *(
            (GOOD | {"s3_bucket": name}, "The field s3_bucket is not a name that an S3 bucket can")
            for name in ("No_Bucket", "192.168.0.1", "a..b", "ab", "source\n")
        ),
        (GOOD | {"s3_key": "k" * 1025}, "1025 bytes"),
        (GOOD | {"s3_key": "a\nb"}, "line break"),
        (GOOD | {"s3_key": ".."}, "'.' or '..'"),
    ],
    # pytest doubles a backslash each time it collects the tests
    ids=lambda value: str(value)[:40].replace("\\n", "<LF>"),
)
def test_400_names_what_is_wrong_with_the_request(version: str, body: object, named: str) -> None:
    answer = ask(stores(), a_request(version, body))
    assert answer.status == 400
    assert named in answer.body["error"]["message"]
    assert answer.body["error"]["retryable"] is False


def test_a_key_that_is_no_text_at_all_is_400(version: str) -> None:
    answer = ask(stores(), a_request(version, '{"s3_bucket": "source", "s3_key": "\\ud800"}'))
    assert answer.status == 400
    assert answer.body["error"]["message"] == "The field s3_key is not valid Unicode."


@pytest.mark.parametrize(("body", "problem"), [("", "empty"), ("x" * 20_000, "too long")])
def test_a_body_of_a_wrong_size_is_400_and_a_good_one_is_shown(
    version: str, body: str, problem: str
) -> None:
    answer = ask(stores(), a_request(version, body))
    expected = f'The body is {problem}: send {{"s3_bucket": "…", "s3_key": "…"}}.'
    assert (answer.status, answer.body["error"]["message"]) == (400, expected)


def test_a_body_in_base64_is_read(version: str) -> None:
    event = a_request(version, base64.b64encode(json.dumps(GOOD).encode()).decode())
    assert ask(stores(), event | {"isBase64Encoded": True}).status == 201


@pytest.mark.parametrize(
    ("body", "problem"),
    [("%%%", "The body is empty"), ("//4=", "The body is not text in UTF-8.")],
)
def test_a_body_that_is_no_text_is_400(version: str, body: str, problem: str) -> None:
    answer = ask(stores(), a_request(version, body) | {"isBase64Encoded": True})
    assert answer.status == 400
    assert answer.body["error"]["message"].startswith(problem)


def test_403_for_a_bucket_that_is_not_listed(version: str) -> None:
    answer = ask(stores(), a_request(version, GOOD | {"s3_bucket": "other"}))
    assert answer.status == 403
    assert answer.body["error"] == {
        "code": "source_not_allowed",
        "message": "The bucket other is not one that this API replicates from: its operator lists"
        " them in SOURCE_BUCKETS.",
        "retryable": False,
    }


def test_nothing_is_listed_by_default(version: str) -> None:
    made = stores()
    made.environ = {"SOURCE_BUCKETS": ""}
    assert ask(made, a_request(version, GOOD)).status == 403


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_415_for_other_than_json(version: str, media_type: str) -> None:
    answer = ask(stores(), a_request(version, GOOD, headers={"content-type": media_type}))
    assert answer.status == 415
    assert answer.body["error"]["message"] == (
        "The body's type is not JSON: send the header Content-Type: application/json."
    )


def test_json_with_a_charset_is_json(version: str) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert ask(stores(), a_request(version, GOOD, headers=headers)).status == 201


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_405_for_other_methods(version: str, method: str) -> None:
    answer = ask(stores(), a_request(version, GOOD, method=method))
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
    assert f"{method} is not possible: POST to /v1/replicate" in answer.body["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/replicate/x", "/v2/replicate"])
def test_404_for_other_paths(version: str, path: str) -> None:
    answer = ask(stores(), a_request(version, GOOD, path=path))
    assert (answer.status, answer.body["error"]["code"]) == (404, "route_not_found")
    assert f"There is no {path}: POST to /v1/replicate" in answer.body["error"]["message"]


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
def test_every_failure_has_its_status_its_code_and_its_request_id(
    version: str, error: type[ReplicationError], status: int
) -> None:
    context = Context()
    answer = ask(stores(error("what and what next")), a_request(version, GOOD), context)
    assert answer.status == status == error.status
    assert answer.body == {
        "error": {
            "code": error.code,
            "message": "what and what next",
            "retryable": error.retryable,
        },
        "request_id": context.aws_request_id,
    }
    assert ("Retry-After" in answer.headers) == (status in {429, 503})


def test_a_store_that_says_how_long_to_wait_is_quoted(version: str) -> None:
    error = errors.SourceUnavailableError("down", retry_after_s=17)
    assert ask(stores(error), a_request(version, GOOD)).headers["Retry-After"] == "17"


def test_504_when_the_time_budget_is_spent(version: str) -> None:
    answer = ask(stores(), a_request(version, GOOD), Context(remaining_ms=1000))
    assert (answer.status, answer.body["error"]["retryable"]) == (504, True)


def test_a_defect_of_ours_is_500_without_its_stack(version: str) -> None:
    answer = ask(stores(ZeroDivisionError("inner detail")), a_request(version, GOOD))
    assert answer.status == 500
    assert "inner detail" not in json.dumps(answer.body)
    assert "Traceback" not in json.dumps(answer.body)


def test_with_overwrite_never_what_exists_is_skipped(version: str) -> None:
    made = stores()
    made.environ = {"OVERWRITE": "never"}
    made.gcs.put("key", b"of other origin")
    answer = ask(made, a_request(version, GOOD))
    assert (answer.status, answer.body["reason"]) == (200, "exists")
    assert made.gcs.objects["key"].data == b"of other origin"


def test_every_error_of_the_tree_has_a_code_of_its_own() -> None:
    def below(kind: type[ReplicationError]) -> list[type[ReplicationError]]:
        return [kind, *(found for sub in kind.__subclasses__() for found in below(sub))]

    tree = below(ReplicationError)
    codes = [kind.code for kind in tree if kind is not errors.InternalError]
    assert len(codes) == len(set(codes)), "InternalError alone shares the base's code"
