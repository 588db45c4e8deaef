"""`S3Source.read` with a response whose end boto3 does not check."""

from io import BytesIO

import pytest
from botocore.response import StreamingBody

from replicate.aws_clients import AwsClients
from replicate.errors import SourceUnavailableError
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef
from replicate.retry import DEFAULT_POLICY
from replicate.s3 import S3Source

BUFFER = memoryview(bytearray(8))


def read(data: bytes) -> int:
    """Read once from a response that has no Content-Length."""
    source = S3Source(AwsClients("eu-west-1", DEFAULT_POLICY), Deadline(60), DEFAULT_POLICY)
    stream = StreamingBody(BytesIO(data), None)  # type: ignore[arg-type] # as botocore calls it
    return source.read(stream, BUFFER, SourceRef("source", "key"))


def test_bytes_are_counted() -> None:
    assert read(b"12345") == 5
    assert bytes(BUFFER[:5]) == b"12345"


def test_stream_that_ends_early_is_an_outage_of_the_source() -> None:
    with pytest.raises(SourceUnavailableError, match="ended early"):
        read(b"")
