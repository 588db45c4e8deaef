"""`S3Source` with responses that S3 does not send: they end early, or come from a proxy."""

from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.response import StreamingBody
from builders import make_source

from replicate.aws_clients import AwsClients
from replicate.errors import (
    ReplicationError,
    SourceForbiddenError,
    SourceUnavailableError,
    ThrottledError,
)
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import PartLayout, SourceRef
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


def source_that_answers(monkeypatch: pytest.MonkeyPatch, body: str, status: int = 404) -> S3Source:
    """Answer every request with an error. The response to a HEAD has no body."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    clients, deadline = AwsClients("eu-west-1", DEFAULT_POLICY), Deadline(60)

    def send(request: SimpleNamespace, **_: object) -> AWSResponse:
        data = b"" if request.method == "HEAD" else body.encode()
        raw = SimpleNamespace(stream=lambda **_: iter([data]))
        return AWSResponse(request.url, status, HTTPHeaders(), raw)

    events: Any = clients.client("s3", deadline).meta.events
    events.register("before-send.s3", send)
    return S3Source(clients, deadline, replace(DEFAULT_POLICY, attempts=2, first_delay_s=0.0))


def test_object_is_absent_if_s3_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_that_answers(monkeypatch, NOT_FOUND).head(REF) is None


@pytest.mark.parametrize("body", ["", "<html>Not found</html>", "<Error></Error>"])
def test_404_that_is_not_of_s3_is_an_outage(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    source = source_that_answers(monkeypatch, body)
    with pytest.raises(SourceUnavailableError, match="does not come from S3"):
        source.head(REF)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (403, SourceForbiddenError, "access denied. Allow the function's role s3:GetObject"),
        (503, SourceUnavailableError, "S3 is unavailable. Try again"),
    ],
)
def test_object_that_cannot_be_described_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[ReplicationError], message: str
) -> None:
    body = "<Error><Code>Refused</Code></Error>"
    with pytest.raises(error) as caught:
        source_that_answers(monkeypatch, body, status).head(REF)
    assert caught.value.message.startswith(f"Reading s3://source/key failed: {message}")


@pytest.mark.parametrize(
    ("status", "code", "is_transient"),
    [
        (400, "ExpiredToken", True),
        (400, "KMS.ThrottlingException", True),
        (416, "InvalidPartNumber", False),
        (403, "AccessDenied", False),
    ],
)
def test_parts_that_cannot_be_described_for_a_while_are_not_called_unknown(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, *, is_transient: bool
) -> None:
    """Otherwise the object would be copied without a comparison with its checksum."""
    source = source_that_answers(monkeypatch, f"<Error><Code>{code}</Code></Error>", status)
    version = make_source(ref=REF)
    if not is_transient:
        assert source.part_layout(version) is None
        return
    with pytest.raises((SourceUnavailableError, ThrottledError)):
        source.part_layout(version)


def test_version_that_cannot_be_described_for_a_while_is_not_called_forbidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The response to the HEAD has no body, and its status is 400."""
    source = source_that_answers(monkeypatch, "<Error><Code>ExpiredToken</Code></Error>", 400)
    with pytest.raises(SourceUnavailableError):
        source.has_layout(make_source(ref=REF), PartLayout(count=0, size=1))
