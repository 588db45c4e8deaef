"""Who has put an event into the dead-letter queue, and why, is read from the message."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.operate.dead_letters import UNKNOWN, DeadLetters, read

EVENTS = Path(__file__).parents[2] / "events"
LAMBDAS = json.loads((EVENTS / "failure-record.json").read_text())
OURS = {
    "failedEvent": {"Records": []},
    "failures": [{"code": "destination_forbidden", "message": "GCS denies it.", "source": None}],
    "attempts": 3,
}


@pytest.mark.parametrize(
    ("body", "attributes", "code", "reason"),
    [
        (OURS, {}, "destination_forbidden", "GCS denies it."),
        (
            LAMBDAS,
            {},
            "destination_unavailable",
            "s3://my-source-bucket/logs/app.log: destination_unavailable: GCS answers 503.",
        ),
        (
            {
                **LAMBDAS,
                "responsePayload": {"errorType": "Sandbox.Timedout", "errorMessage": "Late"},
            },
            {},
            "Sandbox.Timedout",
            "Late",
        ),
        (
            {**LAMBDAS, "responsePayload": None},
            {},
            "RetriesExhausted",
            "Lambda gave up before the function ran.",
        ),
        (
            {"source": "aws.s3"},
            {"ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "No"},
            "NO_PERMISSIONS",
            "No",
        ),
        ({"Records": []}, {}, UNKNOWN, ""),
        ("text", {}, UNKNOWN, ""),
    ],
)
def test_code_and_reason_are_read_from_every_kind_of_message(
    body: object, attributes: dict[str, str], code: str, reason: str
) -> None:
    letter = read(
        {
            "MessageId": "1",
            "ReceiptHandle": "r",
            "Body": json.dumps(body),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        }
    )
    assert (letter.code, letter.reason) == (code, reason)


def test_a_body_that_is_not_json_is_read() -> None:
    assert read({"MessageId": "1", "ReceiptHandle": "r", "Body": "{"}).code == UNKNOWN


class SlowQueue:
    """SQS for a reader who is so slow that letters are visible again before it has read all."""

    def __init__(self, *batches: str) -> None:
        self._batches = list(batches)

    def get_queue_attributes(self, **_: object) -> Any:  # noqa: ANN401 - as boto3
        return {"Attributes": {"ApproximateNumberOfMessages": "3"}}

    def receive_message(self, **_: object) -> Any:  # noqa: ANN401 - as boto3
        ids = self._batches.pop(0) if self._batches else ""
        letters = [{"MessageId": each, "ReceiptHandle": each, "Body": "{}"} for each in ids]
        return {"Messages": letters, "ResponseMetadata": {"HTTPHeaders": {}}}

    def change_message_visibility_batch(self, **_: object) -> None: ...


@pytest.mark.parametrize(
    ("batches", "found"),
    [(["ab", "ab", "a", "c"], "abc"), (["ab"], "ab"), (["abc", "a", "d"], "abc")],
    ids=["slow reader", "fewer than SQS said", "all were read"],
)
def test_letters_that_are_visible_again_do_not_end_the_reading(
    batches: list[str], found: str
) -> None:
    sqs: Any = SlowQueue(*batches)
    with DeadLetters(sqs, "url", 1) as queue:
        assert "".join(letter.id for letters in queue for letter in letters) == found
