"""Nominations of a reconcile: how they are written, read and run."""

import json
from typing import Any

import pytest
from memory import Context, MemoryStores

from replicate.entry.nomination import write_message
from replicate.protocol.model import SourceRef

REF = SourceRef("source", "a +b%20/ü\n\U0001f600")


def batch(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": str(number), "body": body}
            for number, body in enumerate(bodies)
        ]
    }


def test_nominated_key_is_replicated_as_it_is_written() -> None:
    ref = SourceRef("source", "a +b%20/ü")
    stores = MemoryStores()
    stores.s3.put(ref, b"bytes")

    response = stores.function().handle(batch(write_message(ref)), Context())

    assert response == {"batchItemFailures": []}
    assert stores.gcs.objects[ref.key].data == b"bytes"


@pytest.mark.parametrize(
    ("lifecycle", "is_deleted"), [("true", True), ("false", False)], ids=["all", "by users"]
)
def test_extra_replica_is_deleted_only_where_all_deletes_are_replicated(
    lifecycle: str, *, is_deleted: bool
) -> None:
    """Nothing says whether a user or a lifecycle rule deleted the source."""
    ref = SourceRef("source", "a")
    stores = MemoryStores(
        environ={"REPLICATE_DELETES": "true", "REPLICATE_LIFECYCLE_DELETES": lifecycle}
    )
    stores.s3.put(ref, b"bytes")
    stores.function().handle(batch(write_message(ref)), Context())
    stores.s3.delete(ref)

    stores.function().handle(batch(write_message(ref)), Context())

    assert ("a" in stores.gcs.objects) != is_deleted


def test_message_holds_any_key() -> None:
    assert json.loads(write_message(REF)) == {"nomination": {"bucket": "source", "key": REF.key}}


@pytest.mark.parametrize("named", [None, {}, {"bucket": "source"}, {"bucket": "", "key": "a"}, 7])
def test_malformed_nomination_fails_alone(named: object) -> None:
    ref = SourceRef("source", "a")
    stores = MemoryStores()
    stores.s3.put(ref, b"bytes")

    bodies = [json.dumps({"nomination": named}), write_message(ref)]
    response = stores.function().handle(batch(*bodies), Context())

    assert response == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    assert "a" in stores.gcs.objects
