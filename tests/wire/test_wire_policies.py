"""Refusals that wear the status of a lost race: a policy of the store answers 412 for ever."""

import pytest
from wire.cases import (
    ARRIVAL,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    FOREVER,
    OVERWRITE_LARGE,
    OVERWRITE_SMALL,
    PATCH,
    Scenario,
)
from wire.proxy import AnswerError, Exchange, Fault, answer
from wire.stage import DESTINATION, SOURCE, Stage

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


def forbid(stage: Stage, operation: str, times: int | None = None) -> None:
    """Let GCS refuse an operation by policy."""
    stage.clouds.server.add_fault(
        ServerFault(
            operation=operation,
            name=stage.key,
            status=412,
            reason="conditionNotMet",
            message=SENTENCE,
            times=times,
        )
    )


def uploads(stage: Stage) -> int:
    return sum(step in UPLOADS for step in stage.steps)


@pytest.mark.parametrize(("scenario", "operation", "most_uploads"), REFUSED, ids=str)
def test_a_policy_of_gcs_ends_the_run_for_good_with_its_own_sentence(
    stage: Stage, scenario: Scenario, operation: str, most_uploads: int
) -> None:
    event = scenario.prepare(stage)
    before = stage.look()
    forbid(stage, operation)
    ended = stage.invoke(event)
    stage.clouds.server.clear_faults()
    assert ended.failure == "destination_forbidden", ended
    assert not ended.is_retryable
    replica = f"gs://{DESTINATION}/{stage.key}, although it has not changed"
    creation = f"to create the replica of s3://{SOURCE}/{stage.key}, although there is none"
    refused = creation if before is None else replica
    assert ended.text.endswith(
        f": GCS refuses {refused}: {SENTENCE}"
        " Look for a policy on the bucket, project or organization."
    )
    assert uploads(stage) == most_uploads
    assert stage.steps.count("gcs.patch") + stage.steps.count("gcs.delete") == (not most_uploads)
    assert stage.open_sessions() == []
    assert stage.look() == before
    assert stage.violations == []
    assert stage.invoke(event).failure == "", "nothing that stays is broken"
    stage.assert_equal()


@pytest.mark.parametrize("scenario", [CREATE_SMALL, CREATE_LARGE], ids=str)
def test_one_refusal_of_a_new_object_is_no_proof_of_a_policy(
    stage: Stage, scenario: Scenario
) -> None:
    """Another program may have created the object, and deleted it before anybody looked."""
    event = scenario.prepare(stage)
    forbid(stage, {"create-small": "objects.insert"}.get(scenario.name, "upload.final"), times=1)
    assert stage.invoke(event).failure == ""
    assert uploads(stage) == 2
    assert stage.open_sessions() == []
    stage.assert_equal()


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
def test_a_refusal_after_a_broken_request_is_one_by_policy_too(
    stage: Stage, scenario: Scenario, step: str, operation: str
) -> None:
    """The run does not know what became of its first request: the object itself tells."""
    event = scenario.prepare(stage)

    def break_off(_: Exchange) -> None:
        raise AnswerError(answer(503))

    stage.spoil(Fault(step, ARRIVAL, break_off))
    forbid(stage, operation)
    ended = stage.invoke(event)
    stage.clouds.server.clear_faults()
    assert ended.failure == "destination_forbidden", ended
    assert stage.open_sessions() == []


def test_s3_that_refuses_the_version_it_describes_ends_the_run_for_good(stage: Stage) -> None:
    event = OVERWRITE_SMALL.prepare(stage)
    before = stage.look()

    def refuse(_: Exchange) -> None:
        body = b"<Error><Code>PreconditionFailed</Code><Message>Not this one.</Message></Error>"
        raise AnswerError(answer(412, body=body))

    stage.spoil(Fault("s3.get", ARRIVAL, refuse, times=FOREVER))
    ended = stage.invoke(event)
    stage.settle()
    assert ended.failure == "source_forbidden", ended
    assert not ended.is_retryable
    assert "Not this one." in ended.text
    assert stage.steps.count("s3.get") == 2
    assert uploads(stage) == 0
    assert stage.look() == before
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


@pytest.mark.parametrize("scenario", [OVERWRITE_SMALL, OVERWRITE_LARGE], ids=str)
def test_many_lost_races_are_no_policy(stage: Stage, scenario: Scenario) -> None:
    """Somebody else writes in between again and again; when they stop, the run ends equal."""
    event = scenario.prepare(stage)
    step = "gcs.insert" if scenario is OVERWRITE_SMALL else "gcs.final"
    fault = stage.spoil(Fault(step, ARRIVAL, lambda _: stage.meddle(), times=4))
    assert stage.invoke(event).failure == ""
    assert fault.struck == 4
    assert uploads(stage) == 5
    assert stage.open_sessions() == []
    stage.assert_equal()


def test_many_lost_races_for_a_new_object_are_no_policy(stage: Stage) -> None:
    """Somebody else creates the object, and overwrites it again and again."""
    event = CREATE_SMALL.prepare(stage)
    stage.spoil(Fault("gcs.insert", ARRIVAL, lambda _: stage.meddle(), times=4))
    assert stage.invoke(event).failure == ""
    assert uploads(stage) == 5
    stage.assert_equal()
