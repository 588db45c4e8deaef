"""Events are shaped as S3 shapes them, tried as Lambda tries them, and kept when they fail."""

from typing import Any
from urllib.parse import unquote_plus

from tools.local.delivery import AsyncInvoker
from tools.local.notifications import as_s3_sends_it, is_of_moto_only, notification, record
from tools.local.runtime import FunctionError

EVENT = notification(record("b", "k"))


class Flaky:
    """A function that fails so many times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def invoke(self, _: object) -> Any:  # noqa: ANN401 - JSON
        self.failures -= 1
        if self.failures >= 0:
            raise FunctionError("BatchFailedError", f"{self.failures} more")
        return {"results": [{"status": "replicated"}]}


def test_an_event_is_tried_three_times_and_then_kept() -> None:
    invoker = AsyncInvoker(Flaky(3).invoke, retry_delays_s=(0, 0))
    delivery = invoker.deliver(EVENT)
    assert (delivery.attempts, delivery.results) == (3, ())
    assert delivery.error
    assert invoker.failed == [delivery]


def test_a_retry_that_succeeds_leaves_nothing_behind() -> None:
    invoker = AsyncInvoker(Flaky(2).invoke, retry_delays_s=(0, 0))
    delivery = invoker.deliver(EVENT)
    assert (delivery.attempts, delivery.error) == (3, None)
    assert invoker.failed == []


def test_what_was_kept_is_delivered_again_and_kept_when_it_fails_again() -> None:
    invoker = AsyncInvoker(Flaky(6).invoke, retry_delays_s=(0, 0))
    invoker.deliver(EVENT)
    (again,) = invoker.redrive()
    assert invoker.failed == [again]
    (at_last,) = invoker.redrive()
    assert (at_last.error, at_last.event) == (None, EVENT)
    assert invoker.failed == []


def test_a_key_is_encoded_as_s3_does_it() -> None:
    key = "a b+c/ü%2F"
    encoded = record("bucket", key)["s3"]["object"]["key"]
    assert encoded == "a+b%2Bc/%C3%BC%252F"
    assert unquote_plus(encoded) == key


def test_motos_record_is_rebuilt_as_s3_sends_it() -> None:
    moto = record("bucket", "a/b", event="ObjectRemoved:Delete", size=1, etag="e")
    moto["s3"]["object"]["key"] = "a%2Fb"
    rebuilt = as_s3_sends_it(moto)
    assert rebuilt["eventName"] == "ObjectRemoved:Delete"
    assert rebuilt["s3"]["object"].keys() == {"key", "sequencer"}
    assert rebuilt["s3"]["object"]["key"] == "a/b"


def test_the_second_event_of_a_multipart_upload_is_motos_alone() -> None:
    done = "ObjectCreated:CompleteMultipartUpload"
    assert is_of_moto_only(record("b", "k", etag="abc-3"))
    assert not is_of_moto_only(record("b", "k", etag="abc-3", event=done))
    assert not is_of_moto_only(record("b", "k", etag="abc"))
