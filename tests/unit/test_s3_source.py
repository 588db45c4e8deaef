"""`S3Source` with responses that S3 does not send: they end early, or come from a proxy."""

from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.response import StreamingBody

from replicate.aws_clients import AwsClients
from replicate.errors import SourceUnavailableError
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef
from replicate.retry import DEFAULT_POLICY
from replicate.s3 import S3Source

BUFFER = memoryview(bytearray(8))
REF = SourceRef("source", "key")


def read(data: bytes) -> int:
    """Read once from a response that has no Content-Length."""
    source = S3Source(AwsClients("eu-west-1", DEFAULT_POLICY), Deadline(60), DEFAULT_POLICY)
    stream = StreamingBody(BytesIO(data), None)  # type: ignore[arg-type] # as botocore calls it
    return source.read(stream, BUFFER, REF)


def test_bytes_are_counted() -> None:
    assert read(b"12345") == 5
    assert bytes(BUFFER[:5]) == b"12345"


def test_stream_that_ends_early_is_an_outage_of_the_source() -> None:
    with pytest.raises(SourceUnavailableError, match="ended early"):
        read(b"")


NOT_FOUND = "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"


def source_that_answers_404(monkeypatch: pytest.MonkeyPatch, body: str) -> S3Source:
    """Answer every request with a 404. The response to a HEAD has no body."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    clients, deadline = AwsClients("eu-west-1", DEFAULT_POLICY), Deadline(60)

    def send(request: SimpleNamespace, **_: object) -> AWSResponse:
        data = b"" if request.method == "HEAD" else body.encode()
        raw = SimpleNamespace(stream=lambda **_: iter([data]))
        return AWSResponse(request.url, 404, HTTPHeaders(), raw)

    events: Any = clients.client("s3", deadline).meta.events
    events.register("before-send.s3", send)
    return S3Source(clients, deadline, DEFAULT_POLICY)


def test_object_is_absent_if_s3_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_that_answers_404(monkeypatch, NOT_FOUND).head(REF) is None


@pytest.mark.parametrize("body", ["", "<html>Not found</html>", "<Error></Error>"])
def test_404_that_is_not_of_s3_is_an_outage(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    source = source_that_answers_404(monkeypatch, body)
    with pytest.raises(SourceUnavailableError, match="does not come from S3"):
        source.head(REF)
