"""Keys and headers of any kind, through the real adapters: carried over exactly, or refused."""

import gc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from wire.cases import ARRIVAL, FOREVER
from wire.proxy import AnswerError, Exchange, Fault, answer
from wire.stage import SOURCE, Context, Stage

from replicate.errors import BatchFailedError

often = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WHOLE = {
    "ETag": '"900150983cd24fb0d6963f7d28e17f72"',
    "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT",
    "Content-Type": "text/plain",
}
"""What S3 says about an object with the bytes `abc`."""

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
VALUES = st.binary(max_size=60).map(
    lambda raw: raw.translate(None, b"\r\n\0").decode("latin-1").strip()
)
"""Whatever a header can hold: any bytes but those that end it."""


def deliver(stage: Stage, key: str, headers: dict[str, str]) -> str:
    """Let S3 hold `abc` under any key, described like this; returns why its run failed."""

    def describe(exchange: Exchange) -> None:
        body = b"abc" if exchange.seen.method == "GET" else b""
        raise AnswerError(answer(200, {"Content-Length": "3", **headers}, body))

    stage.settle()
    stage.forget_steps()
    for step in ("s3.get", "s3.head"):
        stage.spoil(Fault(step, ARRIVAL, describe, times=FOREVER))
    try:
        stage.function.handle(an_event(key), Context(60, stage.clock))
    except BatchFailedError as error:
        return error.message
    return ""


def an_event(key: str) -> dict[str, Any]:
    """EventBridge says keys as they are."""
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
@example("tab\tbell\x07")
@given(KEYS)
def test_a_key_arrives_exactly_as_it_is_called_or_is_refused_by_name(
    stage: Stage, key: str
) -> None:
    failure = deliver(stage, key, WHOLE)
    if failure:
        assert ": invalid_name: " in failure
        assert {"\r", "\n"} & set(key) or key in {".", ".."}
        return
    (path, *others) = {urlsplit(seen.target).path for seen in stage.clouds.aws.seen}
    assert others == []
    assert unquote(path, errors="strict") == f"/{SOURCE}/{key}"
    assert stage.clouds.gcs.download(key).body == b"abc"


@often
@given(
    st.dictionaries(st.sampled_from(["x-amz-meta-a", "x-amz-meta-b", "Cache-Control"]), VALUES),
    st.dictionaries(
        st.sampled_from(["Content-Type", "Content-Disposition", "Content-Language"]), VALUES
    ),
)
def test_any_bytes_in_metadata_are_carried_over_or_left_out(
    stage: Stage, first: dict[str, str], second: dict[str, str]
) -> None:
    """What decodes to control characters is left out: it must not block the object."""
    assert deliver(stage, stage.key, WHOLE | first | second) == ""
    stored = stage.clouds.gcs.get(stage.key).json
    plain = {name[11:] for name, value in first.items() if "meta" in name and value.isprintable()}
    assert stored["metadata"].keys() >= plain


@pytest.fixture
def left_connections() -> Iterator[None]:
    """Collect here what botocore leaves open when it cannot read the head of a response."""
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
def test_a_description_that_makes_no_sense_is_a_failure_of_s3_and_not_of_ours(
    stage: Stage, nonsense: dict[str, str]
) -> None:
    assert "internal_error" not in deliver(stage, stage.key, WHOLE | nonsense)
