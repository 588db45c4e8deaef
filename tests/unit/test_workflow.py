"""The steps of the state machine, as it invokes the function: JSON in, JSON out."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from executions import FakeExecutions
from fakes import Upload
from memory import Context, FailingSource, MemoryStores, sample_event

from replicate.entry.execution_watch import WATCH, facts, read_message, write_message
from replicate.entry.invocation import Change, Delivery
from replicate.entry.sqs import parse_invocation
from replicate.errors import (
    COSTLY_BYTES,
    IntegrityError,
    OutOfTimeError,
    ReplicationError,
    SourceArchivedError,
    SourceUnavailableError,
)
from replicate.protocol.evidence import HINT, REQUEST, Evidence, user_deletion
from replicate.protocol.large import MAX_ROUNDS
from replicate.protocol.model import SourceRef
from replicate.step_errors import (
    BrokenTransferError,
    PermanentError,
    TransferError,
    TransientError,
    WrongBytesError,
)

DATA = bytes(range(256)) * 2
REF = SourceRef("my-source-bucket", "key")
MACHINE = Path(__file__).parents[2] / "statemachines" / "large-object.asl.json"
ENVIRON = {
    "PARALLEL_FROM": "50",
    "LARGE_FROM": "200",
    "PART_SIZE": "50",
    "SLICE_SIZE": "100",
    "SOURCE_BUCKETS": REF.bucket,
}


def stores(failure: Exception | None = None) -> MemoryStores:
    made = MemoryStores(environ=ENVIRON, executions=FakeExecutions())
    if failure:
        made.wrap = lambda source: FailingSource(source, {"key": failure})
    made.s3.upload(REF, Upload(data=DATA, checksum="CRC64NVME"))
    return made


def invoke(made: MemoryStores, step: str, state: dict[str, Any]) -> dict[str, Any]:
    event = {"large": step, "bucket": REF.bucket, "key": REF.key, **state}
    answer = made.function().steps.copy_large(json.loads(json.dumps(event)), Context())
    new: dict[str, Any] = json.loads(json.dumps(answer))
    return new


def test_steps_copy_a_large_object(capsys: pytest.CaptureFixture[str]) -> None:
    made = stores()
    state = invoke(made, "plan", {"version": None, "round": 0})
    assert (state["done"], state["round"], state["slices"]) == (False, 1, [0, 1, 2, 3, 4, 5])
    for number in state["slices"]:
        assert invoke(made, "slice", {**state, "number": number}) == {"staged": True}
    done = invoke(made, "commit", state)
    assert done["done"] is True
    assert done["result"]["reason"] == "created"
    assert made.gcs.objects["key"].data == DATA
    assert set(made.gcs.objects) == {"key"}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"] for line in lines if "message" in line] == ["replicated: created"]
    assert [line["BytesReplicated"] for line in lines if "_aws" in line] == [[512.0]]


def test_plan_ends_the_execution_when_both_sides_are_equal() -> None:
    made = stores()
    state = invoke(made, "plan", {"version": None, "round": 0})
    for number in state["slices"]:
        invoke(made, "slice", {**state, "number": number})
    invoke(made, "commit", state)
    done = invoke(made, "plan", {"version": state["version"], "round": 1})
    assert (done["done"], done["result"]["reason"]) == (True, "current")


def test_commit_requests_another_plan_when_a_slice_is_missing() -> None:
    made = stores()
    state = invoke(made, "plan", {"version": None, "round": 0})
    again = invoke(made, "commit", state)
    assert again == {
        "done": False,
        "bucket": REF.bucket,
        "key": REF.key,
        "round": 1,
        "version": state["version"],
    }


def test_sweep_deletes_staged_objects() -> None:
    made = stores()
    state = invoke(made, "plan", {"version": None, "round": 0})
    invoke(made, "slice", {**state, "number": 0})
    assert made.gcs.objects
    assert invoke(made, "sweep", state) == {}
    assert made.gcs.objects == {}
    assert invoke(made, "sweep", {"version": None}) == {}


def test_slice_is_not_staged_when_its_version_is_gone() -> None:
    made = stores()
    state = invoke(made, "plan", {"version": None, "round": 0})
    made.s3.upload(REF, Upload(data=DATA[::-1], checksum="CRC64NVME"))
    assert invoke(made, "slice", {**state, "number": 0}) == {"staged": False}


def test_execution_ends_after_ten_rounds() -> None:
    assert (
        invoke(stores(), "plan", {"version": None, "round": MAX_ROUNDS - 1})["round"] == MAX_ROUNDS
    )
    with pytest.raises(PermanentError, match="out_of_rounds"):
        invoke(stores(), "plan", {"version": None, "round": MAX_ROUNDS})


def costly(error: ReplicationError) -> ReplicationError:
    error.bytes_wasted = COSTLY_BYTES
    return error


@pytest.mark.parametrize(
    ("step", "failure", "kind"),
    [
        ("plan", SourceUnavailableError("down"), TransientError),
        ("plan", SourceArchivedError("frozen"), PermanentError),
        ("plan", OutOfTimeError("down"), TransferError),
        ("slice", SourceUnavailableError("down"), TransientError),
        ("slice", costly(SourceUnavailableError("down")), BrokenTransferError),
        ("plan", costly(SourceUnavailableError("down")), BrokenTransferError),
        ("slice", IntegrityError("down"), TransferError),
        ("slice", OutOfTimeError("down"), TransferError),
        ("commit", OutOfTimeError("down"), TransientError),
        ("commit", IntegrityError("down"), WrongBytesError),
    ],
)
def test_error_name_tells_the_machine_whether_to_retry(
    step: str, failure: Exception, kind: type[Exception]
) -> None:
    state = {"version": "f", "generation": "0", "metageneration": None, "count": 1, "number": 0}
    with pytest.raises(kind, match=r"\w+: (down|frozen)") as caught:
        invoke(stores(failure), step, {**state, "round": 0})
    assert caught.type is kind, "Lambda tells the machine this name only"


@pytest.mark.parametrize("event", [{}, {"large": "x"}, {"large": "plan", "bucket": 7}])
def test_malformed_step_fails_permanently(event: dict[str, Any]) -> None:
    with pytest.raises(PermanentError, match="invalid_event"):
        stores().function().steps.copy_large(event, Context())


def test_execution_has_the_lag_of_its_event_and_deletes_no_replica_that_it_finds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message that waits for it carries the evidence, and its run deletes."""
    environ = {"REPLICATE_DELETES": "true", "REPLICATE_LIFECYCLE_DELETES": "true"}
    made = stores()
    made.environ = ENVIRON | environ
    occurred_at = datetime.now(UTC) - timedelta(seconds=90)
    event = facts(Change(REF, occurred_at))
    state = invoke(made, "plan", {"version": None, "round": 0, "event": event})
    for number in state["slices"]:
        invoke(made, "slice", {**state, "number": number})
    capsys.readouterr()
    invoke(made, "commit", {**state, "event": event})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (lag,) = [line["ReplicationLag"][0] for line in lines if "ReplicationLag" in line]
    assert 90 <= lag < 100
    made.s3.delete(REF)
    done = invoke(made, "plan", {"version": state["version"], "round": 1, "event": event})
    assert done["result"]["reason"] == "source_gone"
    assert set(made.gcs.objects) == {"key"}


def test_execution_without_an_event_has_no_lag(capsys: pytest.CaptureFixture[str]) -> None:
    made = stores()
    state = invoke(made, "plan", {"version": None, "round": 0})
    for number in state["slices"]:
        invoke(made, "slice", {**state, "number": number})
    invoke(made, "commit", {**state, "event": facts(Change(REF))})
    assert "ReplicationLag" not in capsys.readouterr().out


@pytest.mark.parametrize("evidence", [REQUEST, HINT, user_deletion(datetime.now(UTC))])
def test_watch_has_the_evidence_and_the_lag_of_its_event(evidence: Evidence) -> None:
    now = datetime.now(UTC)
    waiting = Change(REF, now - timedelta(hours=1), evidence=evidence, since=now, first_since=now)
    (change,) = read_message(
        json.loads(write_message(waiting, "name-1", now)), Delivery(now)
    ).changes
    assert change == replace(waiting, watched=frozenset({"name-1"}))


def test_watch_of_an_earlier_release_proves_no_deletion() -> None:
    event = {"occurred_at": None, "by_lifecycle": False}
    watch = {"bucket": REF.bucket, "key": REF.key, "execution": "name-1", "event": event}
    (change,) = read_message({"executionWatch": watch}, Delivery(datetime.now(UTC))).changes
    assert change.evidence == HINT


@pytest.mark.parametrize(("sent_after_s", "waits_anew"), [(44, False), (60, True)])
def test_redriven_watch_begins_to_wait_anew(sent_after_s: int, *, waits_anew: bool) -> None:
    """Then the executions that failed before do not count: the cause may be removed."""
    now = datetime.now(UTC)
    sent_at = int((now + timedelta(seconds=sent_after_s)).timestamp() * 1000)
    record = {
        "eventSource": "aws:sqs",
        "messageId": "m",
        "body": write_message(Change(REF), "name-1", now),
        "receiptHandle": "r",
        "attributes": {"SentTimestamp": str(sent_at), "ApproximateReceiveCount": "1"},
    }
    (change,) = parse_invocation({"Records": [record]}, now, Context()).changes
    assert (change.since is None) is waits_anew


@pytest.mark.parametrize(
    ("watched", "waits_anew"),
    [({"a-1"}, False), ({"a-2", "b-1"}, False), ({"b-1"}, True), (set(), False)],
)
def test_event_begins_to_wait_anew_for_another_version(
    watched: set[str], *, waits_anew: bool
) -> None:
    now = datetime.now(UTC)
    since = now - timedelta(days=9)
    waiting = Change(REF, since=since, watched=frozenset(watched))
    (change,) = read_message(json.loads(write_message(waiting, "a-2", now)), Delivery(now)).changes
    assert change.since == (now if waits_anew else since)
    assert change.first_since == since, "its age goes on"


def test_watch_of_an_earlier_version_of_the_function_is_read() -> None:
    watch = {"bucket": REF.bucket, "key": REF.key, "execution": "name-1"}
    (change,) = read_message({WATCH: watch}, Delivery(datetime.now(UTC))).changes
    assert change == Change(REF, watched=frozenset({"name-1"}))


def test_merged_changes_wait_anew_if_one_of_them_is_new() -> None:
    one, two = datetime.now(UTC), datetime.now(UTC) + timedelta(hours=1)
    assert Change(REF, since=one).merge(Change(REF, since=two)).since == two
    assert Change(REF, since=one).merge(Change(REF)).since is None
    assert Change(REF, first_since=one).merge(Change(REF, first_since=two)).first_since == two


def test_machine_sweeps_after_a_permanent_error_only_and_keeps_what_is_staged_else() -> None:
    machine = json.loads(MACHINE.read_text())
    states = machine["States"]
    slice_state = states["StageSlices"]["ItemProcessor"]["States"]["StageSlice"]
    for state in (states["Plan"], states["Commit"], states["Sweep"], slice_state):
        permanent, *_, others = state["Retry"]
        assert permanent == {"ErrorEquals": ["PermanentError", "WrongBytesError"], "MaxAttempts": 0}
        assert others["ErrorEquals"] == ["States.ALL"]  # a killed process has many names
    for name in ("Plan", "StageSlices", "Commit"):
        permanent, others = states[name]["Catch"]
        assert permanent["ErrorEquals"] == ["PermanentError", "WrongBytesError"]
        assert others["ErrorEquals"] == ["States.ALL"]
        assert (permanent["Next"], others["Next"]) == ("Sweep", "Failed")
        assert permanent["ResultPath"] == others["ResultPath"] == "$.error"


def test_event_of_a_large_object_starts_an_execution() -> None:
    made = stores()
    event = sample_event("s3-put")
    event["Records"][0]["s3"]["object"]["key"] = "key"
    (result,) = made.function().handle(event, Context())["results"]
    assert (result["status"], result["reason"]) == ("in_progress", "started")
    assert made.executions
    assert made.executions.started == [result["execution"]]


def test_request_for_a_large_object_returns_202_and_the_execution() -> None:
    made = stores()
    event = sample_event("api-v2") | {"isBase64Encoded": False}
    event["body"] = json.dumps({"s3_bucket": REF.bucket, "s3_key": REF.key})
    answers = [made.function().handle(event, Context()) for _ in range(2)]
    assert [answer["statusCode"] for answer in answers] == [202, 202]
    bodies = [json.loads(answer["body"]) for answer in answers]
    assert [body["reason"] for body in bodies] == ["started", "running"]
    assert made.executions
    assert len(made.executions.watches) == 1
    assert len({body["execution"] for body in bodies}) == 1


def test_watch_is_sent_again_while_its_execution_runs() -> None:
    made = stores()
    assert made.executions
    event = sample_event("s3-put")
    event["Records"][0]["s3"]["object"]["key"] = "key"
    (started,) = made.function().handle(event, Context())["results"]
    watch = {"executionWatch": {"bucket": REF.bucket, "key": REF.key}}
    watch["executionWatch"]["execution"] = started["execution"]
    message = {"eventSource": "aws:sqs", "messageId": "m", "body": json.dumps(watch)}
    answer = made.function().handle({"Records": [message]}, Context())
    assert answer == {"batchItemFailures": []}
    assert made.executions.watches == [started["execution"]] * 2


def test_batch_operations_result_names_the_execution() -> None:
    made = stores()
    task = {"taskId": "t", "s3Key": "key", "s3VersionId": None, "s3Bucket": REF.bucket}
    event = {"invocationSchemaVersion": "2.0", "invocationId": "i", "tasks": [task]}
    (result,) = made.function().handle(event, Context())["results"]
    assert result["resultCode"] == "Succeeded"
    assert made.executions
    (name,) = made.executions.started
    assert result["resultString"] == (
        f"in_progress: started gs://replica/key: the execution {name} copies the object"
    )
