"""Failed events are moved to the event queue, each at least once."""

import io
import json
import re
from functools import partial
from typing import Any

import pytest
from operate.conftest import Deploy, Deployed, Run, client
from rich.console import Console

from tools.operate.redrive import redrive


@pytest.fixture(name="stack")
def deployed_stack(deploy: Deploy) -> Deployed:
    """Return a stack whose event queue nobody polls."""
    return deploy(polled=False)


def failed(code: str, number: int = 0) -> dict[str, Any]:
    """Return an event that failed with a code, as the function stores it."""
    return {"failedEvent": {"number": number}, "failures": [{"code": code, "message": "No."}]}


def bodies(url: str) -> list[Any]:
    """Take every visible message out of a queue."""
    sqs, found = client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [json.loads(message["Body"]) for message in messages]
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


class Sqs:
    """SQS, with a change by a test."""

    def __init__(self) -> None:
        self._sqs = client("sqs")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._sqs, name)


def with_sqs(sqs: Sqs, _: object, *queues: str, **options: Any) -> Any:  # noqa: ANN401 - redrive's
    return redrive(sqs, *queues, **options)  # type: ignore[arg-type]


def move(sqs: Sqs, stack: Deployed, **options: Any) -> Any:  # noqa: ANN401 - redrive's
    return with_sqs(sqs, None, stack.failure_queue, stack.event_queue, **options)


def test_all_events_are_moved_unchanged(stack: Deployed, run: Run) -> None:
    events = [failed("out_of_time", number) for number in range(23)]
    stack.fail(*events)
    done = run("redrive", "my-stack", "--rate", "1000")
    assert (done.exit_code, done.output.split()[-3:]) == (0, ["out_of_time", "23", "0"])
    assert sorted(bodies(stack.event_queue), key=str) == sorted(events, key=str)
    assert bodies(stack.failure_queue) == []


def test_a_terminal_shows_the_progress(
    stack: Deployed, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr("tools.operate.__main__.out", console)
    stack.fail(*[failed("a") for _ in range(12)])
    assert run("redrive", "my-stack").exit_code == 0
    assert re.search(r"redrive .*12/12", terminal.getvalue())


def test_only_events_with_the_given_codes_are_moved_and_the_others_stay_visible(
    stack: Deployed, run: Run
) -> None:
    stack.fail(*[failed(code) for code in ("a", "b", "c") * 5])
    done = run("redrive", "my-stack", "--code", "a", "--code", "c")
    assert [line.split() for line in done.output.splitlines()[1:]] == [
        ["a", "5", "0"],
        ["b", "0", "5"],
        ["c", "5", "0"],
    ]
    assert bodies(stack.failure_queue) == [failed("b")] * 5
    assert len(bodies(stack.event_queue)) == 10


def test_a_dry_run_moves_nothing(stack: Deployed, run: Run) -> None:
    stack.fail(failed("a"), failed("b"))
    done = run("redrive", "my-stack", "--dry-run", "--code", "a")
    assert "would be moved" in done.output
    assert bodies(stack.event_queue) == []
    assert len(bodies(stack.failure_queue)) == 2


def test_an_interruption_repeats_events_and_loses_none(stack: Deployed) -> None:
    stack.fail(*[failed("a", number) for number in range(15)])

    class Interrupted(Sqs):
        def delete_message_batch(self, **_: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(Interrupted(), stack)
    assert len(bodies(stack.failure_queue)) == 15
    assert len(bodies(stack.event_queue)) == 10


def test_an_event_that_the_event_queue_refuses_stays(stack: Deployed) -> None:
    stack.fail(*[failed("a", number) for number in range(3)])

    class Refusing(Sqs):
        def send_message_batch(self, **request: Any) -> Any:  # noqa: ANN401 - boto3's
            *accepted, refused = request["Entries"]
            done = self._sqs.send_message_batch(**{**request, "Entries": accepted})
            return {**done, "Failed": [{"Id": refused["Id"]}]}

    tally = move(Refusing(), stack)
    assert (tally.moved, tally.kept) == ({"a": 2}, {"a": 1})
    assert len(bodies(stack.failure_queue)) == 1


def test_events_that_sqs_does_not_delete_are_counted_and_moved_again_the_next_time(
    stack: Deployed, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.fail(*[failed("a", number) for number in range(12)])

    class Keeping(Sqs):
        def delete_message_batch(self, **request: Any) -> Any:  # noqa: ANN401 - boto3's
            kept, *others = request["Entries"]
            done = self._sqs.delete_message_batch(**{**request, "Entries": others})
            return {**done, "Failed": [{"Id": kept["Id"]}]}

    monkeypatch.setattr("tools.operate.__main__.move", partial(with_sqs, Keeping()))
    done = run("redrive", "my-stack")
    assert "SQS did not delete 2 of the moved events" in done.output
    assert done.output.splitlines()[1].split() == ["a", "12", "0"]
    assert len(bodies(stack.event_queue)) == 12
    assert move(Sqs(), stack).stayed == 0
    assert (len(bodies(stack.event_queue)), bodies(stack.failure_queue)) == (2, [])


def test_an_event_that_fails_again_meanwhile_is_not_moved_again(stack: Deployed) -> None:
    stack.fail(failed("a"))

    class FailingAgain(Sqs):
        def receive_message(self, **request: Any) -> Any:  # noqa: ANN401 - boto3's
            received = self._sqs.receive_message(**request)
            for message in received.get("Messages", []):
                if json.loads(message["Body"]) == failed("again"):
                    message["Attributes"]["SentTimestamp"] = "32503680000000"  # in the year 3000
            return received

        def delete_message_batch(self, **request: Any) -> Any:  # noqa: ANN401 - boto3's
            stack.fail(failed("again"))
            return self._sqs.delete_message_batch(**request)

    assert move(FailingAgain(), stack).moved == {"a": 1}
    assert bodies(stack.failure_queue) == [failed("again")]


def test_large_events_are_sent_in_smaller_batches(stack: Deployed) -> None:
    events = [{**failed("a", number), "x": "y" * 250_000} for number in range(6)]
    stack.fail(*events)
    assert move(Sqs(), stack).moved == {"a": 6}
    assert len(bodies(stack.event_queue)) == 6


def test_the_rate_is_kept(stack: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = list[float]()
    monkeypatch.setattr("tools.operate.redrive.time.sleep", slept.append)
    stack.fail(*[failed("a") for _ in range(20)])
    move(Sqs(), stack, rate=0.1)
    assert [round(seconds, -1) for seconds in slept] == [100, 200]  # it counts from the start
