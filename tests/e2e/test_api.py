"""POST /v1/replicate over HTTP."""

from tools.local.cloud import API_ONLY_BUCKET
from tools.local.demo_context import DemoContext


def test_the_second_request_for_an_object_finds_it_current(demo: DemoContext, prefix: str) -> None:
    key = f"{prefix}a b+ü.txt"
    demo.put_without_event(key, b"please")
    status, response = demo.call_api(s3_bucket=API_ONLY_BUCKET, s3_key=key)
    assert (status, response["status"], response["reason"]) == (201, "replicated", "created")
    assert response["destination"]["uri"] == f"gs://replica/{key}"
    status, response = demo.call_api(s3_bucket=API_ONLY_BUCKET, s3_key=key)
    assert (status, response["status"], response["reason"]) == (200, "skipped", "current")
    demo.expect_equal(prefix)


def test_a_missing_object_is_404(demo: DemoContext, prefix: str) -> None:
    status, response = demo.call_api(s3_bucket=API_ONLY_BUCKET, s3_key=f"{prefix}nothing")
    assert (status, response["error"]["code"]) == (404, "object_not_found")
    assert response["error"]["retryable"] is False
    assert response["request_id"]


def test_a_bucket_outside_source_buckets_is_403(demo: DemoContext) -> None:
    status, response = demo.call_api(s3_bucket="somebody-elses", s3_key="a")
    assert (status, response["error"]["code"]) == (403, "source_not_allowed")


def test_a_request_without_a_key_is_400(demo: DemoContext) -> None:
    status, response = demo.call_api(s3_bucket=API_ONLY_BUCKET)
    assert (status, response["error"]["code"]) == (400, "invalid_request")
