"""The audit that demo and tests rely on sees what differs."""

from tools.local.cloud import SILENT
from tools.local.stage import Stage


def test_the_audit_sees_what_is_missing_on_either_side_and_what_differs(
    stage: Stage, prefix: str
) -> None:
    s3, bucket = stage.cloud.aws.s3, stage.cloud.google.bucket
    for name in ("equal", "bytes", "type", "metadata", "missing"):
        s3.put_object(
            Bucket=SILENT,
            Key=prefix + name,
            Body=b"bytes",
            ContentType="text/plain",
            Metadata={"author": "me"},
        )
    for name in ("equal", "bytes", "type", "metadata", "surplus"):
        blob = bucket.blob(prefix + name)
        blob.metadata = {"author": "you" if name == "metadata" else "me", "more": "is fine"}
        blob.upload_from_string(
            b"BYTES" if name == "bytes" else b"bytes",
            content_type="text/html" if name == "type" else "text/plain",
        )
    equal = {pair.name.removeprefix(prefix): pair.equal for pair in stage.pairs(prefix)}
    assert equal == {
        "equal": True,
        "bytes": False,
        "type": False,
        "metadata": False,
        "missing": False,
        "surplus": False,
    }
