"""Upload sessions that GCS no longer knows, what a run asks of one, and answers to a deletion."""

import pytest
from wire.cases import ANSWERED, ARRIVAL, CREATE_LARGE, DELETE, OVERWRITE_LARGE, Scenario, Step
from wire.proxy import AnswerError, CutError, Exchange, Fault, Strike, answer
from wire.stage import Stage

LARGE = [(CREATE_LARGE, "created"), (OVERWRITE_LARGE, "overwritten")]


def cut(_: Exchange) -> None:
    raise CutError


def say(status: int) -> Strike:
    def strike(_: Exchange) -> None:
        raise AnswerError(answer(status))

    return strike


@pytest.mark.parametrize(("scenario", "reason"), LARGE, ids=str)
@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("step", ["gcs.put", "gcs.ask", "gcs.final"])
def test_a_session_that_is_gone_is_opened_anew_within_the_run(
    stage: Stage, scenario: Scenario, reason: str, status: int, step: str
) -> None:
    event = scenario.prepare(stage)

    def lose_session(exchange: Exchange) -> None:
        ended = stage.clouds.gcs.request("DELETE", exchange.seen.target)
        assert ended.status == 499, "it is gone at the server, too"
        raise AnswerError(answer(status))

    if step == "gcs.ask":
        stage.spoil(Fault("gcs.put", ANSWERED, cut))
    fault = stage.spoil(Fault(step, ARRIVAL, lose_session))
    ended = stage.invoke(event)
    stage.settle()
    assert fault.struck == 1
    assert ended.failure == "", ended.text
    assert ended.told["reason"] == reason
    assert stage.steps.count("gcs.start") == 2
    assert stage.open_sessions() == []
    stage.assert_equal()


@pytest.mark.parametrize("status", [404, 410])
def test_sessions_that_are_gone_again_and_again_end_the_run(stage: Stage, status: int) -> None:
    event = CREATE_LARGE.prepare(stage)

    def lose_session(exchange: Exchange) -> None:
        stage.clouds.gcs.request("DELETE", exchange.seen.target)
        raise AnswerError(answer(status))

    stage.spoil(Fault("gcs.put", ARRIVAL, lose_session, times=1000))
    ended = stage.invoke(event)
    stage.settle()
    assert ended.failure == "destination_unavailable"
    assert ended.is_retryable
    assert stage.steps.count("gcs.start") == 5
    assert stage.open_sessions() == []
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


@pytest.mark.parametrize(("scenario", "reason"), LARGE, ids=str)
@pytest.mark.parametrize("status", [404, 410])
def test_a_finished_upload_whose_session_is_gone_is_told_as_what_it_was(
    stage: Stage, scenario: Scenario, reason: str, status: int
) -> None:
    """The response to the last request is lost, and then GCS has forgotten the session."""
    event = scenario.prepare(stage)
    stage.spoil(Fault("gcs.final", ANSWERED, cut))
    stage.spoil(Fault("gcs.ask", ARRIVAL, say(status)))
    ended = stage.invoke(event)
    stage.settle()
    assert ended.failure == "", ended.text
    assert (ended.told["status"], ended.told["reason"]) == ("replicated", reason)
    assert stage.open_sessions() == []
    stage.assert_equal()


@pytest.mark.parametrize("step", [Step("gcs.put"), Step("gcs.final")], ids=str)
def test_the_question_how_far_an_upload_got_can_complete_nothing(stage: Stage, step: Step) -> None:
    """If it named the size it would complete the upload; a hash might then refuse it for good."""
    event = CREATE_LARGE.prepare(stage)
    stage.spoil(Fault(step.name, ANSWERED, cut))
    assert stage.invoke(event).failure == ""
    (question,) = [seen for seen in stage.seen if seen.method == "PUT" and not seen.sent]
    assert question.step == "gcs.ask"
    assert question.headers["content-range"] == "bytes */*"
    assert question.headers["content-length"] == "0"
    assert not any("hash" in name or "md5" in name for name in question.headers)
    assert not any(name.startswith("x-upload") for name in question.headers)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_success_in_answer_to_a_deletion_is_one(stage: Stage, status: int) -> None:
    event = DELETE.prepare(stage)
    fault = stage.spoil(Fault("gcs.delete", ANSWERED, say(status)))
    ended = stage.invoke(event)
    assert fault.struck == 1
    assert ended.failure == "", ended.text
    assert (ended.told["status"], ended.told["reason"]) == ("deleted", "deleted")
    assert stage.steps.count("gcs.delete") == 1
    stage.assert_equal()
