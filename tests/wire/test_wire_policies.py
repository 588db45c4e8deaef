"""Refusals by policy, which have the status of a lost race (412) but never end."""

import pytest
from wire.cases import (
    ALWAYS,
    BEFORE_REQUEST,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    PATCH,
    Scenario,
)
from wire.harness import Harness
from wire.proxy import CannedResponseError, Exchange, Fault, response

from tools.local.gcs import Fault as ServerFault

SENTENCE = "The object violates the constraint constraints/storage.retentionPolicySeconds."
UPLOADS = ("gcs.insert", "gcs.start")

REFUSED = [
    (CREATE_SMALL, "objects.insert", 2),
    (CREATE_LARGE, "upload.start", 2),
    (CREATE_LARGE, "upload.final", 2),
    (OVERWRITE_SMALL, "objects.insert", 1),
    (OVERWRITE_LARGE, "upload.start", 1),
    (OVERWRITE_LARGE, "upload.final", 1),
    (PATCH, "objects.patch", 0),
    (DELETE, "objects.delete", 0),
]


def forbid(harness: Harness, operation: str, times: int | None = None) -> None:
    """Let GCS refuse an operation by policy."""
    harness.clouds.server.add_fault(
        ServerFault(
            operation=operation,
            name=harness.key,
            status=412,
            reason="conditionNotMet",
            message=SENTENCE,
            times=times,
        )
    )


def uploads(harness: Harness) -> int:
    return sum(step in UPLOADS for step in harness.steps)


@pytest.mark.parametrize(("scenario", "operation", "most_uploads"), REFUSED, ids=str)
def test_run_fails_permanently_with_the_message_of_gcs_when_a_policy_refuses(
    harness: Harness, scenario: Scenario, operation: str, most_uploads: int
) -> None:
    event = scenario.prepare(harness)
    before = harness.observe()
    forbid(harness, operation)
    ended = harness.invoke(event)
    harness.clouds.server.clear_faults()
    assert ended.error_code == "destination_forbidden", ended
    assert not ended.is_retryable
    assert SENTENCE in ended.message
    assert "Look for a policy" in ended.message
    assert uploads(harness) == most_uploads
    assert harness.steps.count("gcs.patch") + harness.steps.count("gcs.delete") == (
        not most_uploads
    )
    assert harness.open_sessions() == []
    assert harness.observe() == before
    assert harness.violations == []
    assert harness.invoke(event).error_code == "", "the refusal left something behind"
    harness.assert_equal()


@pytest.mark.parametrize(("scenario", "operation", "_"), REFUSED, ids=str)
def test_a_write_is_repeated_while_another_one_is_in_progress(
    harness: Harness, scenario: Scenario, operation: str, _: int
) -> None:
    """GCS refuses one of two writes at the same time with 409, and says that it can be retried."""
    event = scenario.prepare(harness)
    harness.clouds.server.add_fault(
        ServerFault(operation=operation, name=harness.key, status=409, reason="conflict")
    )
    assert harness.invoke(event).error_code == ""
    assert harness.open_sessions() == []
    assert harness.violations == []
    harness.assert_equal()


@pytest.mark.parametrize("scenario", [CREATE_SMALL, CREATE_LARGE], ids=str)
def test_new_object_is_retried_after_one_refusal(harness: Harness, scenario: Scenario) -> None:
    """Another program may have created the object and deleted it again."""
    event = scenario.prepare(harness)
    forbid(harness, {"create-small": "objects.insert"}.get(scenario.name, "upload.final"), times=1)
    assert harness.invoke(event).error_code == ""
    assert uploads(harness) == 2
    assert harness.open_sessions() == []
    harness.assert_equal()


@pytest.mark.parametrize(
    ("scenario", "step", "operation"),
    [
        (OVERWRITE_SMALL, "gcs.insert", "objects.insert"),
        (OVERWRITE_LARGE, "gcs.final", "upload.final"),
        (PATCH, "gcs.patch", "objects.patch"),
        (DELETE, "gcs.delete", "objects.delete"),
    ],
    ids=str,
)
def test_refusal_after_a_failed_request_is_reported_as_a_policy(
    harness: Harness, scenario: Scenario, step: str, operation: str
) -> None:
    """The run reads the object to find out whether its first request took effect."""
    event = scenario.prepare(harness)

    def break_off(_: Exchange) -> None:
        raise CannedResponseError(response(503))

    harness.inject(Fault(step, BEFORE_REQUEST, break_off))
    forbid(harness, operation)
    ended = harness.invoke(event)
    harness.clouds.server.clear_faults()
    assert ended.error_code == "destination_forbidden", ended
    assert harness.open_sessions() == []


def test_run_fails_permanently_when_s3_refuses_an_unchanged_version(harness: Harness) -> None:
    event = OVERWRITE_SMALL.prepare(harness)
    before = harness.observe()

    def refuse(_: Exchange) -> None:
        body = b"<Error><Code>PreconditionFailed</Code><Message>Not this one.</Message></Error>"
        raise CannedResponseError(response(412, body=body))

    harness.inject(Fault("s3.get", BEFORE_REQUEST, refuse, times=ALWAYS))
    ended = harness.invoke(event)
    harness.stop_faults()
    assert ended.error_code == "source_forbidden", ended
    assert not ended.is_retryable
    assert "Not this one." in ended.message
    assert harness.steps.count("s3.get") == 2
    assert uploads(harness) == 0
    assert harness.observe() == before
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


@pytest.mark.parametrize("scenario", [OVERWRITE_SMALL, OVERWRITE_LARGE], ids=str)
def test_many_lost_races_are_not_reported_as_a_policy(harness: Harness, scenario: Scenario) -> None:
    """Another program writes in between four times."""
    event = scenario.prepare(harness)
    step = "gcs.insert" if scenario is OVERWRITE_SMALL else "gcs.final"
    fault = harness.inject(
        Fault(step, BEFORE_REQUEST, lambda _: harness.overwrite_destination(), times=4)
    )
    assert harness.invoke(event).error_code == ""
    assert fault.triggered == 4
    assert uploads(harness) == 5
    assert harness.open_sessions() == []
    harness.assert_equal()


def test_many_lost_races_for_a_new_object_are_not_reported_as_a_policy(harness: Harness) -> None:
    """Another program creates the object, and overwrites it three times."""
    event = CREATE_SMALL.prepare(harness)
    harness.inject(
        Fault("gcs.insert", BEFORE_REQUEST, lambda _: harness.overwrite_destination(), times=4)
    )
    assert harness.invoke(event).error_code == ""
    assert uploads(harness) == 5
    harness.assert_equal()
