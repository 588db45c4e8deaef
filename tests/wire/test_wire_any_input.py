"""Keys and headers of any kind are replicated literally by the real adapters, or rejected."""

import gc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from wire.cases import ALWAYS, BEFORE_REQUEST
from wire.harness import SOURCE, Context, Harness
from wire.proxy import CannedResponseError, Exchange, Fault, response

from replicate.errors import BatchFailedError

often = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WHOLE = {
    "ETag": '"900150983cd24fb0d6963f7d28e17f72"',
    "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT",
    "Content-Type": "text/plain",
}
"""The headers of S3 for an object with the bytes `abc`."""

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
VALUES = st.binary(max_size=60).map(
    lambda raw: raw.translate(None, b"\r\n\0").decode("latin-1").strip()
)
"""Any bytes that a header can hold: all but line breaks and NUL."""


def deliver(harness: Harness, key: str, headers: dict[str, str]) -> str:
    """Replicate an object `abc` with this key and these headers; return the error message."""

    def respond(exchange: Exchange) -> None:
        body = b"abc" if exchange.request.method == "GET" else b""
        raise CannedResponseError(response(200, {"Content-Length": "3", **headers}, body))

    harness.stop_faults()
    harness.clear_requests()
    for step in ("s3.get", "s3.head"):
        harness.inject(Fault(step, BEFORE_REQUEST, respond, times=ALWAYS))
    try:
        harness.function.handle(an_event(key), Context(60, harness.clock))
    except BatchFailedError as error:
        return error.message
    return ""


def an_event(key: str) -> dict[str, Any]:
    """Return an event of EventBridge, which does not encode keys."""
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": datetime.now(UTC).isoformat(),
        "detail": {"bucket": {"name": SOURCE}, "object": {"key": key, "size": 3}},
    }


@often
@example("a+b c%20d%2Be")
@example("/leading//double/./../dots/")
@example("ü/ü/日本\U0001f600?#&=;\\\"'")
@example("photos/")
@example("tab\tbell\x07")
@given(KEYS)
def test_any_key_is_replicated_literally_or_rejected(harness: Harness, key: str) -> None:
    error_message = deliver(harness, key, WHOLE)
    if error_message:
        assert ": invalid_name: " in error_message
        assert {"\r", "\n"} & set(key) or key in {".", ".."}
        return
    (path, *others) = {urlsplit(request.target).path for request in harness.clouds.aws.requests}
    assert others == []
    assert unquote(path, errors="strict") == f"/{SOURCE}/{key}"
    assert harness.clouds.gcs.download(key).body == b"abc"


@often
@given(
    st.dictionaries(st.sampled_from(["x-amz-meta-a", "x-amz-meta-b", "Cache-Control"]), VALUES),
    st.dictionaries(
        st.sampled_from(["Content-Type", "Content-Disposition", "Content-Language"]), VALUES
    ),
)
def test_any_metadata_bytes_are_copied_or_dropped(
    harness: Harness, first: dict[str, str], second: dict[str, str]
) -> None:
    """Metadata that decodes to control characters is dropped, and the object is replicated."""
    assert deliver(harness, harness.key, WHOLE | first | second) == ""
    stored = harness.clouds.gcs.get(harness.key).json
    plain = {name[11:] for name, value in first.items() if "meta" in name and value.isprintable()}
    assert stored["metadata"].keys() >= plain


@pytest.fixture
def left_connections() -> Iterator[None]:
    """Collect connections that botocore leaves open when it cannot parse response headers."""
    yield
    gc.collect()


@pytest.mark.usefixtures("left_connections")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@often
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("ETag", "Last-Modified", "Content-Encoding", "x-amz-version-id"),
                *("x-amz-checksum-crc32", "x-amz-checksum-crc64nvme", "x-amz-checksum-type"),
                *("x-amz-server-side-encryption", "x-amz-storage-class", "x-amz-mp-parts-count"),
            ]
        ),
        VALUES | st.sampled_from(["AAAA", "AAAAAA==-2", "COMPOSITE", "-1"]),
        min_size=1,
    )
)
def test_malformed_description_is_not_an_internal_error(
    harness: Harness, malformed: dict[str, str]
) -> None:
    assert "internal_error" not in deliver(harness, harness.key, WHOLE | malformed)
