"""The audit of the demo and the tests finds each kind of difference."""

from tools.local.cloud import API_ONLY_BUCKET
from tools.local.demo_context import DemoContext


def test_the_audit_finds_missing_surplus_and_different_objects(
    demo: DemoContext, prefix: str
) -> None:
    s3, bucket = demo.cloud.aws.s3, demo.cloud.google.bucket
    for name in ("equal", "bytes", "type", "metadata", "missing"):
        s3.put_object(
            Bucket=API_ONLY_BUCKET,
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
    equal = {pair.name.removeprefix(prefix): pair.equal for pair in demo.pairs(prefix)}
    assert equal == {
        "equal": True,
        "bytes": False,
        "type": False,
        "metadata": False,
        "missing": False,
        "surplus": False,
    }
