"""S3's event notifications, in the shape in which S3 sends them to a Lambda function."""

import json
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from tools.local.aws import REGION
from tools.local.runtime import REPOSITORY

Json = dict[str, Any]
"""An event, or a part of one."""

SAMPLES = REPOSITORY / "events"
REASONS = {"Object Created": "PutObject", "Object Deleted": "DeleteObject"}
"""EventBridge's reasons: S3's operations. moto gives the kind of the notification instead."""

RECORD: Json = json.loads((SAMPLES / "s3-put.json").read_text())["Records"][0]


def notification(*records: Json) -> Json:
    """Return one event. S3 sends one record in each; its documentation promises at least one."""
    return {"Records": list(records)}


def record(
    bucket: str,
    key: str,
    *,
    event: str = "ObjectCreated:Put",
    size: int | None = None,
    etag: str | None = None,
    version_id: str | None = None,
) -> Json:
    """Return one change's record. `key` is the object's own; S3 encodes it as HTML forms do."""
    described = {
        "key": quote_plus(key, safe="/"),
        "size": size,
        "eTag": etag,
        "versionId": version_id,
        "sequencer": f"{time.time_ns():018X}",
    }
    source = {**RECORD["s3"]["bucket"], "name": bucket, "arn": f"arn:aws:s3:::{bucket}"}
    found = {name: value for name, value in described.items() if value is not None}
    return {
        **RECORD,
        "awsRegion": REGION,
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "eventName": event,
        "s3": {**RECORD["s3"], "bucket": source, "object": found},
    }


def object_key(event: Json) -> str:
    """Return the key in an event's first record: encoded by S3, not encoded by EventBridge."""
    for envelope in ("requestPayload", "failedEvent", "retriedEvent"):
        if envelope in event:
            return object_key(event[envelope])
    if "executionWatch" in event:
        return str(event["executionWatch"]["key"])
    if "detail" in event:
        return str(event["detail"]["object"]["key"])
    return unquote_plus(event["Records"][0]["s3"]["object"]["key"])


def as_aws_sends(body: Json) -> Json:
    """Return a notification of moto as S3 sends it, and every other message unchanged."""
    if "detail" in body:
        detail = body["detail"]
        return {**body, "detail": {**detail, "reason": REASONS.get(body["detail-type"], "")}}
    records = body.get("Records", [])
    if not records or "sequencer" in records[0]["s3"]["object"]:
        return body
    kept = [from_moto(each) for each in records if not is_moto_duplicate(each)]
    return notification(*kept) if kept else {"Event": "s3:TestEvent"}


def from_moto(moto_record: Json) -> Json:
    """Rebuild moto's record: it encodes `/` in keys and has neither sequencer nor identities."""
    removed = moto_record["eventName"].startswith("ObjectRemoved")
    described = moto_record["s3"]["object"]
    rebuilt = record(
        moto_record["s3"]["bucket"]["name"],
        unquote_plus(described["key"]),
        event=moto_record["eventName"],
        size=None if removed else described["size"],
        etag=None if removed else described["eTag"],
    )
    return {**rebuilt, "eventTime": moto_record["eventTime"]}


def is_moto_duplicate(moto_record: Json) -> bool:
    """Whether S3 does not send this: moto reports the end of a multipart upload as a Put, too."""
    composite = "-" in moto_record["s3"]["object"]["eTag"]
    return composite and moto_record["eventName"] == "ObjectCreated:Put"
