"""Who has put an event into the dead-letter queue, and why, is read from the message."""

import json
from pathlib import Path

import pytest

from tools.operate.dead_letters import UNKNOWN, read

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
