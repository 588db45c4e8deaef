"""Upload sessions that are gone, status queries, and responses to a delete."""

import pytest
from wire.cases import (
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    CREATE_LARGE,
    DELETE,
    OVERWRITE_LARGE,
    Scenario,
    Step,
)
from wire.harness import DESTINATION, Harness
from wire.proxy import CannedResponseError, CutError, Exchange, ExchangeAction, Fault, response

LARGE = [(CREATE_LARGE, "created"), (OVERWRITE_LARGE, "overwritten")]


def cut(_: Exchange) -> None:
    raise CutError


def respond(status: int) -> ExchangeAction:
    def action(_: Exchange) -> None:
        raise CannedResponseError(response(status))

    return action


@pytest.mark.parametrize(("scenario", "reason"), LARGE, ids=str)
@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("step", ["gcs.put", "gcs.query", "gcs.final"])
def test_run_starts_a_new_session_when_the_session_is_gone(
    harness: Harness, scenario: Scenario, reason: str, status: int, step: str
) -> None:
    event = scenario.prepare(harness)

    def lose_session(exchange: Exchange) -> None:
        ended = harness.clouds.gcs.request("DELETE", exchange.request.target)
        assert ended.status == 499, "the session is gone at the server, too"
        raise CannedResponseError(response(status))

    if step == "gcs.query":
        harness.inject(Fault("gcs.put", BEFORE_RESPONSE, cut))
    fault = harness.inject(Fault(step, BEFORE_REQUEST, lose_session))
    ended = harness.invoke(event)
    harness.stop_faults()
    assert fault.triggered == 1
    assert ended.error_code == "", ended.message
    assert ended.result["reason"] == reason
    assert harness.steps.count("gcs.start") == 2
    assert harness.open_sessions() == []
    harness.assert_equal()


@pytest.mark.parametrize("status", [404, 410])
def test_run_fails_when_every_session_is_gone(harness: Harness, status: int) -> None:
    event = CREATE_LARGE.prepare(harness)

    def lose_session(exchange: Exchange) -> None:
        harness.clouds.gcs.request("DELETE", exchange.request.target)
        raise CannedResponseError(response(status))

    harness.inject(Fault("gcs.put", BEFORE_REQUEST, lose_session, times=1000))
    ended = harness.invoke(event)
    harness.stop_faults()
    assert ended.error_code == "destination_unavailable"
    assert ended.is_retryable
    assert harness.steps.count("gcs.start") == 5
    assert harness.open_sessions() == []
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


@pytest.mark.parametrize(("scenario", "reason"), LARGE, ids=str)
@pytest.mark.parametrize("status", [404, 410])
def test_reason_is_correct_when_the_session_of_a_finished_upload_is_gone(
    harness: Harness, scenario: Scenario, reason: str, status: int
) -> None:
    """The response to the last request is lost, and then the session is gone."""
    event = scenario.prepare(harness)
    harness.inject(Fault("gcs.final", BEFORE_RESPONSE, cut))
    harness.inject(Fault("gcs.query", BEFORE_REQUEST, respond(status)))
    ended = harness.invoke(event)
    harness.stop_faults()
    assert ended.error_code == "", ended.message
    assert (ended.result["status"], ended.result["reason"]) == ("replicated", reason)
    assert harness.open_sessions() == []
    harness.assert_equal()


@pytest.mark.parametrize("step", [Step("gcs.put"), Step("gcs.final")], ids=str)
def test_status_query_cannot_complete_an_upload(harness: Harness, step: Step) -> None:
    """A query with the size would complete the upload, and a hash could then refuse it."""
    event = CREATE_LARGE.prepare(harness)
    harness.inject(Fault(step.name, BEFORE_RESPONSE, cut))
    assert harness.invoke(event).error_code == ""
    (query,) = [
        request for request in harness.requests if request.method == "PUT" and not request.sent
    ]
    assert query.step == "gcs.query"
    assert query.headers["content-range"] == "bytes */*"
    assert query.headers["content-length"] == "0"
    assert not any("hash" in name or "md5" in name for name in query.headers)
    assert not any(name.startswith("x-upload") for name in query.headers)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_success_status_completes_a_delete(harness: Harness, status: int) -> None:
    event = DELETE.prepare(harness)
    fault = harness.inject(Fault("gcs.delete", BEFORE_RESPONSE, respond(status)))
    ended = harness.invoke(event)
    assert fault.triggered == 1
    assert ended.error_code == "", ended.message
    assert (ended.result["status"], ended.result["reason"]) == ("deleted", "deleted")
    assert harness.steps.count("gcs.delete") == 1
    harness.assert_equal()


@pytest.mark.parametrize("missing", ["upload_id", "half of upload_id"])
def test_run_starts_a_new_session_when_the_session_uri_is_incomplete(
    harness: Harness, missing: str
) -> None:
    """The connection breaks inside the Location header, and http.client does not notice."""
    event = CREATE_LARGE.prepare(harness)
    uri = f"{harness.clouds.google.url}/upload/storage/v1/b/{DESTINATION}/o?uploadType=resumable"
    if missing == "half of upload_id":
        uri += "&upload_id=0123"

    def cut_uri(_: Exchange) -> None:
        raise CannedResponseError(response(200, {"location": uri}))

    fault = harness.inject(Fault("gcs.start", BEFORE_REQUEST, cut_uri))
    ended = harness.invoke(event)
    harness.stop_faults()
    assert fault.triggered == 1
    assert ended.error_code == "", ended.message
    assert harness.steps.count("gcs.start") == 2
    assert harness.open_sessions() == []
    harness.assert_equal()
