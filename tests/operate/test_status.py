"""`status` shows how a stack is, and changes nothing."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from operate.conftest import REPORTS, Deploy, Run, client

from tools.operate.status import lag

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Metrics:
    """CloudWatch with one metric, of which it knows percentiles; moto's knows none."""

    def __init__(self, **seconds: tuple[datetime, float]) -> None:
        self._seconds = seconds

    def get_metric_statistics(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3's
        times = {when for when, _ in self._seconds.values()}
        is_ours = asked["Dimensions"] == [{"Name": "service", "Value": "my-stack"}]
        points = [
            {
                "Timestamp": when,
                "ExtendedStatistics": {
                    name: self._seconds[name][1] for name in asked["ExtendedStatistics"]
                },
            }
            for when in times
            if is_ours and asked["StartTime"] <= when < asked["EndTime"]
        ]
        return {"Datapoints": points}


def test_lag_is_that_of_the_last_hour() -> None:
    late, now = NOW - timedelta(hours=2), NOW - timedelta(minutes=30)
    found = Metrics(p50=(now, 0.25), p99=(now, 3))
    assert lag(found, "my-stack", NOW) == "p50 250 ms, p99 3.00 s"  # type: ignore[arg-type]
    old = Metrics(p50=(late, 0.25), p99=(late, 3))
    for metrics, service in ((old, "my-stack"), (found, "other")):
        assert lag(metrics, service, NOW) == "no object was replicated"  # type: ignore[arg-type]


def lines(output: str) -> list[str]:
    """Return the lines of the table with single spaces."""
    return [" ".join(line.split()) for line in output.splitlines()]


def test_everything_is_shown_and_dead_letters_stay_visible(deploy: Deploy, run: Run) -> None:
    stack, sqs = deploy(polled=False), client("sqs")
    for _ in range(3):
        sqs.send_message(QueueUrl=stack.event_queue, MessageBody="{}")
    sqs.receive_message(QueueUrl=stack.event_queue)
    stack.fail(*[{"failedEvent": {}, "failures": [{"code": "a", "message": "[No]."}]}] * 12, {})
    client("cloudwatch").set_alarm_state(AlarmName="lag", StateValue="ALARM", StateReason="late")
    for ended_at, run_id in (("today", "20261126T01-b"), ("yesterday", "20261125T01-a")):
        counts = {"compared": 1234, "equal": 1230, "missing": 3, "extra": 1, "young": 7}
        summary = {"ended": "differences", "differences": 3, "ended_at": ended_at, "counts": counts}
        key = f"runs/{run_id}/summary.json"
        client("s3").put_object(Bucket=REPORTS, Key=key, Body=json.dumps(summary))
    client("s3").put_object(Bucket=REPORTS, Key="runs/20261127T01-c/plan.json", Body="{}")
    done = run("status", "my-stack")
    assert done.exit_code == 0, done.stderr
    assert lines(done.stdout)[1:] == [
        "lag, last hour no object was replicated",
        "events 2 waiting, 1 in work or waiting for a retry",
        "large objects 0 running",
        "dead letters 13",
        "12 a, such as: [No].",
        "1 unknown",
        "last reconcile differences at today: 3 of 1,234 objects; 0 running",
        "in alarm lag",
    ]
    names = ["ApproximateNumberOfMessages"]
    found = sqs.get_queue_attributes(QueueUrl=stack.failure_queue, AttributeNames=names)
    assert found["Attributes"] == {"ApproximateNumberOfMessages": "13"}


def test_an_older_stack_has_no_reconcile(deploy: Deploy, run: Run) -> None:
    deploy(reconciles=False)
    assert "reconcile" not in run("status", "my-stack").stdout
