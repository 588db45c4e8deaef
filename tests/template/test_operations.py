"""Alarms and the dashboard: of every mode, about what exists, and with a sentence to act on."""

import json
from typing import Any

import pytest
from template.stack import MODES, TOPIC, Stack

from replicate.errors import InternalError
from replicate.telemetry import Telemetry

OF_FUNCTION = [{"Name": "FunctionName", "Value": "${ReplicateFunction}"}]
OF_STACK = [{"Name": "service", "Value": "stack"}]
OF_FAILURES = [{"Name": "QueueName", "Value": "${FailureQueue.QueueName}"}]
OF_EVENTS = [{"Name": "QueueName", "Value": "${EventQueue.QueueName}"}]

ALWAYS = {
    "FailuresKept": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", OF_FAILURES, "Maximum", 0),
    "ErrorsPersist": ("AWS/Lambda", "Errors", OF_FUNCTION, "Sum", 0),
    "ThrottlesPersist": ("AWS/Lambda", "Throttles", OF_FUNCTION, "Sum", 0),
    "QueueWaits": ("AWS/SQS", "ApproximateAgeOfOldestMessage", OF_EVENTS, "Maximum", 900),
    "ReplicationLags": ("S3ToGcs", "ReplicationLag", OF_STACK, "p99", 300),
    "IntegrityFails": ("S3ToGcs", "IntegrityFailed", OF_STACK, "Sum", 0),
    "CredentialsFail": ("S3ToGcs", "CredentialsFailed", OF_STACK, "Sum", 0),
}
DIRECT = {"InvocationsWait": ("AWS/Lambda", "AsyncEventAge", OF_FUNCTION, "Maximum", 900)}


def watched(alarm: dict[str, Any]) -> tuple[object, ...]:
    """What an alarm looks at, and from where on it is raised."""
    if "Metrics" in alarm:
        expression, described = alarm["Metrics"]
        assert expression["Expression"] == f"{described['Id']} / 1000"
        assert described["ReturnData"] is False
        metric = described["MetricStat"]
        names = metric["Metric"]
        found = (names["Namespace"], names["MetricName"], names["Dimensions"], metric["Stat"])
    else:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        found = (alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"], statistic)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    return (*found, alarm["Threshold"])


def alarms(stack: Stack) -> dict[str, dict[str, Any]]:
    return {n: r.properties for n, r in stack.of_kind("AWS::CloudWatch::Alarm").items()}


def widgets(stack: Stack) -> list[dict[str, Any]]:
    body: dict[str, Any] = json.loads(stack.properties("Dashboard")["DashboardBody"])
    return [widget["properties"] for widget in body["widgets"]]


@pytest.mark.parametrize("mode", MODES)
class TestAlarms:
    def test_watch_what_the_mode_has(self, mode: dict[str, str]) -> None:
        expected = ALWAYS | (DIRECT if mode["Delivery"] == "direct" else {})

        assert {n: watched(a) for n, a in alarms(Stack(**mode)).items()} == expected

    def test_each_says_what_to_do_and_is_silent_where_nothing_happens(
        self, mode: dict[str, str]
    ) -> None:
        remedies = ("make redrive", "make doctor", "raise", "Raise", "docs/OPERATIONS.md")

        for name, alarm in alarms(Stack(**mode)).items():
            assert any(remedy in alarm["AlarmDescription"] for remedy in remedies), name
            assert alarm["AlarmDescription"].endswith("."), name
            assert len(alarm["AlarmDescription"]) <= 1024, name
            assert alarm["TreatMissingData"] == "notBreaching", name


class TestWhoIsTold:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({}, []),
            ({"AlarmTopicArn": TOPIC}, [TOPIC]),
            ({"AlarmEmail": "me@example.com"}, ["${AlarmTopic}"]),
            ({"AlarmTopicArn": TOPIC, "AlarmEmail": "me@example.com"}, [TOPIC, "${AlarmTopic}"]),
        ],
    )
    def test_nobody_a_topic_an_address_or_both(
        self, options: dict[str, str], told: list[str]
    ) -> None:
        for alarm in alarms(Stack(**options)).values():
            assert alarm["AlarmActions"] == told

    def test_a_topic_is_made_only_for_an_address(self, stack: Stack) -> None:
        told = Stack(AlarmEmail="me@example.com").properties("AlarmTopic")

        assert told == {"Subscription": [{"Protocol": "email", "Endpoint": "me@example.com"}]}
        assert not stack.of_kind("AWS::SNS::Topic")


def test_thresholds_of_lag_and_age_are_parameters() -> None:
    found = alarms(Stack(AlarmLagSeconds=5, AlarmAgeSeconds=60))

    assert found["ReplicationLags"]["Threshold"] == 5
    assert found["InvocationsWait"]["Threshold"] == 60
    assert found["QueueWaits"]["Threshold"] == 60


@pytest.mark.parametrize("mode", MODES)
def test_the_dashboard_shows_what_there_is_to_know(mode: dict[str, str]) -> None:
    found = widgets(Stack(**mode))
    names = {m[1] for w in found for m in w["metrics"] if len(m) > 1}

    assert [w["title"] for w in found] == [
        "Lag from event to commit (s)",
        "Objects by outcome",
        "Bytes replicated",
        "Failures",
        "Backlog",
        "Executions",
        "Estimated cost per hour (US dollars, list prices)",
    ]
    assert [m[-1]["stat"] for m in found[0]["metrics"]] == ["p50", "p99"]
    assert {w["region"] for w in found} == {"eu-central-1"}
    assert {"Replicated", "Skipped", "Deleted", "Failed", "ConcurrentExecutions"} <= names
    assert {watched[1] for watched in (ALWAYS | DIRECT).values()} <= names


@pytest.mark.parametrize(
    ("architecture", "price"), [("x86_64", "0.0000166667"), ("arm64", "0.0000133334")]
)
def test_the_estimate_knows_memory_and_processor(architecture: str, price: str) -> None:
    estimate = widgets(Stack(Architecture=architecture, MemorySize=2048))[-1]
    expressions = {m[0]["id"]: m[0]["expression"] for m in estimate["metrics"] if len(m) == 1}
    hidden = {m[-1]["id"] for m in estimate["metrics"] if len(m) > 1}

    assert f"* 2048 / 1024 * {price} +" in expressions["compute"]
    assert set(expressions) == {"egress", "compute", "writes", "reads"}
    assert hidden == {"bytes", "replicated", "skipped", "duration", "calls"}


def test_metrics_are_counted_where_alarms_and_dashboard_look(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = stack.properties("ReplicateFunction")["Environment"]["Variables"]
    telemetry = Telemetry(
        variables["POWERTOOLS_SERVICE_NAME"], variables["POWERTOOLS_METRICS_NAMESPACE"]
    )
    with telemetry.invocation("id"):
        telemetry.reject(InternalError("made up"))

    written = json.loads(capsys.readouterr().out.splitlines()[-1])
    (described,) = written["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == "S3ToGcs"
    assert described["Dimensions"] == [["service"]]
    assert written["service"] == "stack"
