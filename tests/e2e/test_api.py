"""POST /v1/replicate, over HTTP."""

from tools.local.cloud import SILENT
from tools.local.stage import Stage


def test_an_object_is_created_once_and_then_current(stage: Stage, prefix: str) -> None:
    key = f"{prefix}a b+ü.txt"
    stage.record_of_silent(key, b"please")
    status, answer = stage.call(s3_bucket=SILENT, s3_key=key)
    assert (status, answer["status"], answer["reason"]) == (201, "replicated", "created")
    assert answer["destination"]["uri"] == f"gs://replica/{key}"
    status, answer = stage.call(s3_bucket=SILENT, s3_key=key)
    assert (status, answer["status"], answer["reason"]) == (200, "skipped", "current")
    stage.expect_equal(prefix)


def test_an_object_that_does_not_exist_is_404(stage: Stage, prefix: str) -> None:
    status, answer = stage.call(s3_bucket=SILENT, s3_key=f"{prefix}nothing")
    assert (status, answer["error"]["code"]) == (404, "object_not_found")
    assert answer["error"]["retryable"] is False
    assert answer["request_id"]


def test_a_bucket_that_is_not_listed_is_403(stage: Stage) -> None:
    status, answer = stage.call(s3_bucket="somebody-elses", s3_key="a")
    assert (status, answer["error"]["code"]) == (403, "source_not_allowed")


def test_a_request_without_a_key_is_400(stage: Stage) -> None:
    status, answer = stage.call(s3_bucket=SILENT)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
