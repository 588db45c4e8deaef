"""How a stack is: lag, backlog, copies of large objects, dead letters, the last reconcile."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from tools.common.tables import duration
from tools.operate.dead_letters import DeadLetters
from tools.operate.runs import workflow
from tools.operate.stack import Stack, in_alarm

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_sqs import SQSClient

WINDOW = timedelta(hours=1)
PEEK_HIDDEN_S = 30
"""Dead letters are hidden for so long if this process is killed while it counts them."""
MAX_PEEKED = 1000
"""Dead letters that are read: of more than these, the codes of the rest are not known."""


def status(stack: Stack) -> Table:
    """Ask AWS how the stack is."""
    table = Table(show_header=False, box=None, pad_edge=False, title=f"Stack {stack.name}")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, found in _facts(stack):
        table.add_row(name, Text(found))
    return table


def _facts(stack: Stack) -> Iterator[tuple[str, str]]:
    client = stack.session.client
    yield "lag, last hour", lag(client("cloudwatch"), stack.name, datetime.now(UTC))
    yield "events", backlog(client("sqs"), stack.queue_url("EventQueueArn"))
    yield "large objects", _running(stack, "StateMachineArn")
    yield from _dead_letters(client("sqs"), stack.queue_url("FailureQueueArn"))
    if "ReconcileMachineArn" in stack.outputs:
        yield "last reconcile", _reconcile(stack)
    yield "in alarm", ", ".join(in_alarm(stack.alarms())) or "none"


def lag(cloudwatch: "CloudWatchClient", service: str, now: datetime) -> str:
    """Describe the time from an event to its replica."""
    points = cloudwatch.get_metric_statistics(
        Namespace="S3ToGcs",
        MetricName="ReplicationLag",
        Dimensions=[{"Name": "service", "Value": service}],
        StartTime=now - WINDOW,
        EndTime=now,
        Period=int(WINDOW.total_seconds()),
        ExtendedStatistics=["p50", "p99"],
    )["Datapoints"]
    if not points:
        return "no object was replicated"
    percentiles = max(points, key=lambda point: point["Timestamp"])["ExtendedStatistics"]
    return ", ".join(f"{name} {duration(percentiles[name])}" for name in ("p50", "p99"))


def backlog(sqs: "SQSClient", url: str) -> str:
    """Describe how many events are in a queue."""
    found = sqs.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=[
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ],
    )["Attributes"]
    waiting = int(found["ApproximateNumberOfMessages"])
    later = int(found["ApproximateNumberOfMessagesNotVisible"]) + int(
        found["ApproximateNumberOfMessagesDelayed"]
    )
    return f"{waiting:,} waiting, {later:,} in work or waiting for a retry"


def _running(stack: Stack, machine: str) -> str:
    pages = stack.session.client("stepfunctions").get_paginator("list_executions")
    running = pages.paginate(stateMachineArn=stack.output(machine), statusFilter="RUNNING")
    return f"{sum(len(page['executions']) for page in running):,} running"


def _dead_letters(sqs: "SQSClient", url: str) -> Iterator[tuple[str, str]]:
    """Count the dead letters by code, each with the reason of one of them."""
    codes, reasons = Counter[str](), dict[str, str]()
    with DeadLetters(sqs, url, PEEK_HIDDEN_S) as queue:
        for letters in queue:
            codes.update(letter.code for letter in letters)
            reasons |= {letter.code: letter.reason for letter in letters}
            if codes.total() >= MAX_PEEKED:
                break
    total = max(queue.total, codes.total())
    read = "" if total == codes.total() else f", {codes.total():,} of them read"
    yield "dead letters", f"{total:,}{read}" if total else "none"
    for code, count in codes.most_common():
        yield "", f"{count:,} {code}" + (f", such as: {reasons[code]}" if reasons[code] else "")


def _reconcile(stack: Stack) -> str:
    """Describe the newest run that has ended, and say how many are running."""
    running = _running(stack, "ReconcileMachineArn")
    if not (found := workflow(stack).last_summary()):
        return f"none has ended; {running}"
    return (
        f"{found['ended']} at {found['ended_at']}: {found['differences']:,} of"
        f" {found['counts']['compared']:,} objects; {running}"
    )
