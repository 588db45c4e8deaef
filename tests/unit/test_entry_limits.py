"""Limits of the entry's texts and envelopes, at their boundaries."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from memory import Context, MemoryStores, sample_event

from replicate.entry import dispatch
from replicate.entry.batch_operations import MAX_RESULT_CHARACTERS, BatchOperationsInvocation
from replicate.entry.envelopes import MAX_NESTING
from replicate.entry.http_api import MAX_BODY_CHARACTERS
from replicate.entry.invocation import Change, Message
from replicate.errors import SourceArchivedError
from replicate.protocol.model import SourceRef

REF = SourceRef("source", "key")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_batch_operations_result_text_is_cut_at_1024_characters(excess: int) -> None:
    invocation = BatchOperationsInvocation(
        messages=(Message("t", (Change(REF),)),), invocation_id="i", schema_version="1.0"
    )
    full = "source_archived: " + "ü" * (MAX_RESULT_CHARACTERS - len("source_archived: ") + excess)
    error = SourceArchivedError(full.removeprefix("source_archived: "))
    (result,) = invocation.respond({REF: error})["results"]
    assert result["resultString"] == full[:1024]
    assert len(result["resultString"]) == 1024 + min(excess, 0)


@pytest.mark.parametrize(("excess", "status"), [(0, 404), (1, 400)])
def test_400_for_a_body_of_more_than_16_ki_characters(excess: int, status: int) -> None:
    body = json.dumps({"s3_bucket": "source", "s3_key": "gone"})
    padded = body + " " * (16 * 1024 - len(body) + excess)
    assert MAX_BODY_CHARACTERS == 16 * 1024
    event = sample_event("api-v2") | {"body": padded, "isBase64Encoded": False}
    response = MemoryStores().function().handle(event, Context())
    assert response["statusCode"] == status
    assert ("too long" in response["body"]) == (excess > 0)


def sns_message(event: object) -> dict[str, Any]:
    return {"Type": "Notification", "Message": json.dumps(event)}


def failure_record(event: object) -> dict[str, Any]:
    return {"requestPayload": event}


@pytest.mark.parametrize("wrap", [sns_message, failure_record])
def test_event_is_rejected_when_it_has_more_than_eight_envelopes(wrap: Any) -> None:  # noqa: ANN401
    event = sample_event("s3-put")
    for _ in range(8):
        event = wrap(event)
    assert MAX_NESTING == 8
    assert len(dispatch.parse_invocation(event, NOW, Context()).changes) == 1
    (error,) = dispatch.parse_invocation(wrap(event), NOW, Context()).errors
    assert "too many envelopes" in error.message
