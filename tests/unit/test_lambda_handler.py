"""Lambda's entry point: it builds everything from the environment variables."""

import gc
from collections.abc import Iterator

import pytest
from memory import Context, sample_event

from replicate import handler
from replicate.errors import InvalidEventError, SettingsError
from replicate.handler import lambda_handler
from replicate.step_errors import PermanentError


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Set the variables of a function in a new execution environment; no request is sent."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "eu-west-1",
        "GCS_BUCKET_NAME": "replica",
        "GCP_CREDENTIALS_SECRET": "gcp",
        "SOURCE_BUCKETS": "source,my-source-bucket",
    }.items():
        monkeypatch.setenv(name, value)
    handler._function.cache_clear()  # noqa: SLF001 - nothing is built yet
    yield monkeypatch
    handler._function.cache_clear()  # noqa: SLF001
    gc.unfreeze()


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("event", [{"doctor": 1}, {"doctor": "true"}, {"Doctor": True}, [], None])
def test_an_unknown_event_is_refused(event: object) -> None:
    with pytest.raises(InvalidEventError):
        lambda_handler(event, Context())


@pytest.mark.usefixtures("deployed")
def test_the_event_is_answered() -> None:
    assert lambda_handler(sample_event("s3-test-event"), Context()) == {"results": []}


def test_everything_is_built_once(deployed: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidEventError):
        lambda_handler({}, Context())
    deployed.delenv("GCS_BUCKET_NAME")
    with pytest.raises(InvalidEventError):
        lambda_handler({}, Context())


def test_what_is_built_is_never_collected_and_the_collector_stays_enabled(
    deployed: pytest.MonkeyPatch,
) -> None:
    gc.unfreeze()
    with pytest.raises(InvalidEventError):
        lambda_handler({}, Context())
    assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    deployed.delenv("GCS_BUCKET_NAME")
    handler._function.cache_clear()  # noqa: SLF001
    with pytest.raises(SettingsError):
        lambda_handler({}, Context())
    assert gc.isenabled()


@pytest.mark.parametrize("name", ["api-v2", "sqs-s3", "s3-put"])
def test_a_function_that_cannot_start_answers_nobody_and_acknowledges_nothing(
    deployed: pytest.MonkeyPatch, name: str
) -> None:
    """API Gateway then returns its own 500, and the events come again."""
    deployed.setenv("OVERWRITE", "perhaps")
    with pytest.raises(SettingsError, match="OVERWRITE"):
        lambda_handler(sample_event(name), Context())


def test_the_doctor_builds_everything_anew(deployed: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidEventError):
        lambda_handler({}, Context())
    deployed.delenv("GCS_BUCKET_NAME")
    report = lambda_handler({"doctor": True}, Context())
    assert report["healthy"] is False
    (hop,) = report["hops"]
    assert (hop["hop"], hop["code"]) == ("settings", "settings_invalid")
    assert "GCS_BUCKET_NAME" in hop["found"]


@pytest.mark.parametrize("missing", ["REPORTS_BUCKET", "EVENT_QUEUE_URL"])
def test_a_stack_without_the_reconcile_says_what_is_missing(
    deployed: pytest.MonkeyPatch, missing: str
) -> None:
    for name in {"REPORTS_BUCKET", "EVENT_QUEUE_URL"} - {missing}:
        deployed.setenv(name, "https://example.com/queue")
    with pytest.raises(PermanentError) as caught:
        lambda_handler({"reconcile": "plan"}, Context())
    assert str(caught.value) == (
        f"settings_invalid: The environment variable {missing} is not set, so there is no"
        " reconcile. Deploy the stack again, or set it on the function."
    )
