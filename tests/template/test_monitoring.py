"""Alarms and dashboard watch metrics that exist, and the alarms reach a person."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from template.alarms import Metrics, period_s, states
from template.stack import Stack, variables

from replicate.entry.invocation import Change
from replicate.errors import CredentialsError, IntegrityError
from replicate.protocol.model import Reason, Result, SourceRef, VerifiedBy
from replicate.reconcile import counts
from replicate.settlement.policy import GIVE_UP_AFTER, RedeliveryPolicy
from replicate.telemetry import Telemetry
from tools.local import template
from tools.local.template import TEMPLATE, parameters

SOURCE = SourceRef("bucket", "key")

Metric = tuple[str, str, str, str]
"""Namespace, name, dimension and its value."""

FUNCTION = ("FunctionName", "${ReplicateFunction}")
EVENTS = ("QueueName", "${EventQueue.QueueName}")
FAILURES = ("QueueName", "${FailureQueue.QueueName}")
EXECUTIONS = ("StateMachineArn", "${LargeObjectMachine}")
RULE = ("RuleName", "${BucketRule}")

EXPECTED = {
    "DeadLetterQueueAlarm": ("AWS/SQS", "NumberOfMessagesSent", *FAILURES),
    "DeadLetterAgeAlarm": ("AWS/SQS", "ApproximateAgeOfOldestMessage", *FAILURES),
    "EventLostAlarm": ("AWS/Lambda", "DestinationDeliveryFailures", *FUNCTION),
    "ApiErrorsAlarm": ("AWS/ApiGateway", "5xx", "ApiId", "${Api}"),
    "FailuresAlarm": ("S3ToGcs", "Failed", "service", "stack"),
    "OldestFailureAlarm": ("S3ToGcs", "OldestFailure", "service", "stack"),
    "ErrorsAlarm": ("AWS/Lambda", "Errors", *FUNCTION),
    "ThrottlesAlarm": ("AWS/Lambda", "Throttles", *FUNCTION),
    "AsyncEventAgeAlarm": ("AWS/Lambda", "AsyncEventAge", *FUNCTION),
    "EventQueueAgeAlarm": ("AWS/SQS", "ApproximateAgeOfOldestMessage", *EVENTS),
    "ReplicationLagAlarm": ("S3ToGcs", "ReplicationLag", "service", "stack"),
    "IntegrityAlarm": ("S3ToGcs", "IntegrityFailed", "service", "stack"),
    "CredentialsAlarm": ("S3ToGcs", "CredentialsFailed", "service", "stack"),
    "LargeObjectFailedAlarm": ("AWS/States", "ExecutionsFailed", *EXECUTIONS),
    "LargeObjectTimedOutAlarm": ("AWS/States", "ExecutionsTimedOut", *EXECUTIONS),
    "LargeObjectAbortedAlarm": ("AWS/States", "ExecutionsAborted", *EXECUTIONS),
    "ReconcileDifferencesAlarm": ("S3ToGcs", "ReconcileRepeated", "service", "stack"),
    "ReconcileMissingAlarm": ("S3ToGcs", "ReconcileCompleted", "service", "stack"),
}


OF_AN_EXISTING_BUCKET = {
    "RuleEventLostAlarm": ("AWS/Events", "InvocationsFailedToBeSentToDlq", *RULE),
    "RuleFailedAlarm": ("AWS/Events", "FailedInvocations", *RULE),
}
NOT_SHOWN = {
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", *FAILURES),
    ("AWS/ApiGateway", "5xx", "ApiId", "${Api}"),
}
"""Metrics of alarms that the dashboard does without."""

SILENCE = {"SilenceAlarm": ("AWS/Lambda", "Invocations", *FUNCTION)}


@pytest.fixture(name="monitoring")
def default_monitoring(stack: Stack) -> template.Stack:
    return stack.monitoring()


@pytest.fixture(name="emitted")
def metrics_of_the_function(stack: Stack, capsys: pytest.CaptureFixture[str]) -> set[Metric]:
    """Let the function's telemetry write every metric that it has, and read them back."""
    settings = variables(stack)
    telemetry = Telemetry(
        settings["POWERTOOLS_SERVICE_NAME"], settings["POWERTOOLS_METRICS_NAMESPACE"]
    )
    now = datetime.now(UTC)
    with telemetry.invocation("made up"):
        for reason in (Reason.CREATED, Reason.CURRENT, Reason.DELETED, Reason.STARTED):
            telemetry.record(Change(SOURCE, now), _result(reason), now)
        for error in (IntegrityError("made up"), CredentialsError("made up")):
            telemetry.record(Change(SOURCE), error, now)
        telemetry.oldest_failure(timedelta(hours=1))
        telemetry.reconciled(counts.zero(), 0)
    return set(_written(capsys.readouterr().out))


def alarms(monitoring: template.Stack) -> dict[str, dict[str, Any]]:
    return {n: r.properties for n, r in monitoring.of_kind("AWS::CloudWatch::Alarm").items()}


def watched(alarm: dict[str, Any]) -> Metric:
    """Return the metric of an alarm, which may be inside an expression."""
    described = alarm["Metrics"][-1]["MetricStat"]["Metric"] if "Metrics" in alarm else alarm
    (dimension,) = described["Dimensions"]
    return described["Namespace"], described["MetricName"], dimension["Name"], dimension["Value"]


def widgets(monitoring: template.Stack) -> list[dict[str, Any]]:
    body = json.loads(monitoring.properties("Dashboard")["DashboardBody"])
    return [widget["properties"] for widget in body["widgets"]]


def shown(monitoring: template.Stack) -> set[Metric]:
    """Return the metrics of all widgets; those with one element are expressions."""
    found = [m for widget in widgets(monitoring) for m in widget["metrics"] if len(m) > 1]
    return {(namespace, name, dimension, value) for namespace, name, dimension, value, *_ in found}


class TestAlarms:
    def test_watch_these_metrics(self, monitoring: template.Stack) -> None:
        assert {name: watched(alarm) for name, alarm in alarms(monitoring).items()} == EXPECTED

    def test_of_an_existing_bucket_watch_its_rule_and_of_silence_the_invocations(self) -> None:
        stack = Stack(SourceBucketKind="existing", AlarmSilenceHours=12)
        found = {name: watched(alarm) for name, alarm in alarms(stack.monitoring()).items()}

        assert found == EXPECTED | OF_AN_EXISTING_BUCKET | SILENCE

    def test_watch_metrics_that_the_function_emits(
        self, monitoring: template.Stack, emitted: set[Metric]
    ) -> None:
        found = {watched(alarm) for alarm in alarms(monitoring).values()}

        assert {metric for metric in found if metric[0] == "S3ToGcs"} <= emitted

    def test_notify_the_topic_and_nobody_else(self, monitoring: template.Stack) -> None:
        for name, alarm in alarms(monitoring).items():
            assert alarm["AlarmActions"] == alarm["OKActions"] == ["${AlarmTopic}"], name

    def test_do_not_fire_where_nothing_happens(self, monitoring: template.Stack) -> None:
        found = alarms(monitoring)

        assert found.pop("ReconcileMissingAlarm")["TreatMissingData"] == "breaching"
        assert found.pop("ReconcileDifferencesAlarm")["TreatMissingData"] == "ignore"
        assert {a["TreatMissingData"] for a in found.values()} == {"notBreaching"}

    @pytest.mark.parametrize(
        ("schedule", "hours"),
        [
            ("rate(1 hour)", 1),
            ("rate(6 hours)", 6),
            ("rate(12 hours)", 12),
            ("rate(1 day)", 24),
            ("rate(2 days)", 48),
        ],
    )
    def test_no_reconcile_for_three_periods_of_the_schedule_fires(
        self, schedule: str, hours: int
    ) -> None:
        alarm = alarms(Stack(ReconcileSchedule=schedule).monitoring())["ReconcileMissingAlarm"]

        assert alarm["Period"] * alarm["EvaluationPeriods"] == 3 * hours * 3600
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
        assert alarm["Period"] <= 86400, "CloudWatch's limit"
        assert schedule in parameters()["ReconcileSchedule"]["AllowedValues"]

    def test_nothing_is_missing_without_a_schedule(self) -> None:
        assert "ReconcileMissingAlarm" not in alarms(Stack(ReconcileSchedule="").monitoring())

    def test_an_age_fires_above_the_parameter(self) -> None:
        found = alarms(Stack(AlarmLagSeconds=77).monitoring())

        ages = {"AsyncEventAgeAlarm", "EventQueueAgeAlarm", "ReplicationLagAlarm"}
        assert {name for name, alarm in found.items() if alarm["Threshold"] == 77} == ages

    def test_lambdas_milliseconds_are_compared_as_seconds(self, monitoring: template.Stack) -> None:
        expression, metric = monitoring.properties("AsyncEventAgeAlarm")["Metrics"]

        assert expression["Expression"] == f"{metric['Id']} / 1000"
        assert metric["ReturnData"] is False

    def test_each_has_a_row_in_the_operators_manual(self, monitoring: template.Stack) -> None:
        manual = (TEMPLATE.parent / "docs" / "OPERATIONS.md").read_text()

        assert [name for name in alarms(monitoring) if f"| `{name}` |" not in manual] == []

    def test_each_says_what_to_do(self, monitoring: template.Stack) -> None:
        remedies = ("make re", "make doctor", "aise ", "docs/OPERATIONS.md", "Look for", "The func")

        for name, alarm in alarms(monitoring).items():
            assert any(remedy in alarm["AlarmDescription"] for remedy in remedies), name
            assert len(alarm["AlarmDescription"]) <= 1024, name


@pytest.mark.parametrize("address", ["", "me@example.com"])
def test_the_address_is_subscribed_to_the_topic(address: str) -> None:
    topic = Stack(AlarmEmail=address).monitoring().properties("AlarmTopic")

    subscribed = [{"Protocol": "email", "Endpoint": address}] if address else []
    assert topic["Subscription"] == subscribed


Periods = Sequence[Sequence[float]]

QUIET: Periods = [[]] * 4
"""Periods in which nothing happens."""

INCIDENTS: dict[str, tuple[Periods, Periods]] = {
    "DeadLetterQueueAlarm": ([[1]], [[]]),
    "DeadLetterAgeAlarm": ([[7 * 86400]], [[7 * 86400 - 1]]),
    "EventLostAlarm": ([[1]], [[0]]),
    "RuleEventLostAlarm": ([[1]], [[0]]),
    "RuleFailedAlarm": ([[1]], [[0]]),
    "ApiErrorsAlarm": ([[1], [2], [1]], [[1], [0], [1]]),
    "FailuresAlarm": ([[1], [1], [1]], [[1], [], [1]]),
    "OldestFailureAlarm": ([[60, 3601]], [[60, 3600]]),
    "ErrorsAlarm": ([[1], [1], [1]], [[1], [0], [1]]),
    "ThrottlesAlarm": ([[5], [1], [1]], [[5], [0], [0]]),
    "AsyncEventAgeAlarm": ([[1000, 300_001]], [[300_000]]),
    "EventQueueAgeAlarm": ([[301]], [[300]]),
    "ReplicationLagAlarm": ([[*[1] * 49, 301]] * 3, [[*[1] * 199, 301]] * 3),
    "IntegrityAlarm": ([[1]], [[0]]),
    "CredentialsAlarm": ([[1]], [[0]]),
    "LargeObjectFailedAlarm": ([[1]], [[0]]),
    "LargeObjectTimedOutAlarm": ([[1]], [[0]]),
    "LargeObjectAbortedAlarm": ([[1]], [[0]]),
    "SilenceAlarm": ([[], [], []], [[], [1], []]),
    "ReconcileMissingAlarm": ([[], [], []], [[], [1], []]),
    "ReconcileDifferencesAlarm": ([[1]], [[0]]),
}
"""Values of the metric in each period: when the alarm fires, and when it just does not."""


@pytest.fixture(scope="module")
def all_alarms() -> dict[str, dict[str, Any]]:
    stack = Stack(SourceBucketKind="existing", AlarmSilenceHours=3, ReconcileSchedule="rate(1 day)")
    return alarms(stack.monitoring())


class TestIncidents:
    """Each alarm in a simulation of its metric."""

    def test_there_is_one_for_each_alarm(self, all_alarms: dict[str, dict[str, Any]]) -> None:
        assert all_alarms.keys() == INCIDENTS.keys()

    @pytest.mark.parametrize("name", INCIDENTS)
    def test_fires_in_its_incident_and_is_ok_before_and_after(
        self, all_alarms: dict[str, dict[str, Any]], name: str
    ) -> None:
        incident, harmless = INCIDENTS[name]
        alarm = all_alarms[name]
        calm = [*harmless] * 3 if alarm["TreatMissingData"] in {"breaching", "ignore"} else QUIET

        assert "ALARM" not in states(alarm, [*calm, *harmless])[alarm["EvaluationPeriods"] :]
        found = states(alarm, [*calm, *incident, *calm])
        assert found[len(calm) + len(incident) - 1] == "ALARM"
        assert (found[len(calm) - 1], found[-1]) == ("OK", "OK")

    def test_an_old_dead_letter_does_not_hide_the_next_incident(
        self, all_alarms: dict[str, dict[str, Any]]
    ) -> None:
        """The alarm watches arrivals: it is OK again and can fire again while letters lie there."""
        one, four, none = [1.0] * 5, [4.0] * 5, [0.0] * 5
        queue: Metrics = {
            "sent": [[1], none, none, [3], none],
            "visible": [one, one, one, four, four],
            "hidden": [none] * 5,
        }

        found = states(all_alarms["DeadLetterQueueAlarm"], queue)
        assert found == ["ALARM", "OK", "OK", "ALARM", "OK"]

    def test_a_dead_letter_that_sqs_itself_moves_fires(
        self, all_alarms: dict[str, dict[str, Any]]
    ) -> None:
        """SQS does not count it as sent, and an empty queue has no metrics."""
        none, last_minute, one = [0.0] * 5, [0.0] * 4 + [1.0], [1.0] * 5
        queue: Metrics = {
            "sent": [[], none, none, none],
            "visible": [[], last_minute, one, one],
            "hidden": [[], none, none, none],
        }

        found = states(all_alarms["DeadLetterQueueAlarm"], queue)
        assert found == ["OK", "ALARM", "ALARM", "OK"]

    def test_looking_into_the_dead_letter_queue_or_emptying_it_does_not_fire(
        self, all_alarms: dict[str, dict[str, Any]]
    ) -> None:
        """A message that is received is hidden, and visible again when it is not deleted."""
        visible = [[7.0] * 5, [7.0, 7.0, 4.0, 4.0, 7.0], [7.0] * 5, [2.0, 0.0] * 2]
        hidden = [[7.0 - each for each in values] for values in visible[:3]]
        queue: Metrics = {
            "sent": [[0.0] * 5] * 5,
            "visible": [*visible, [0.0] * 5],
            "hidden": [*hidden, [0.0] * 4, [0.0] * 5],
        }

        found = states(all_alarms["DeadLetterQueueAlarm"], queue)
        assert found[1:] == ["OK"] * 4

    def test_a_dead_letter_is_reported_a_week_before_it_is_deleted(
        self, all_alarms: dict[str, dict[str, Any]], stack: Stack
    ) -> None:
        alarm = all_alarms["DeadLetterAgeAlarm"]
        retention_s = stack.properties("FailureQueue")["MessageRetentionPeriod"]
        hours = [[3600.0 * hour] for hour in range(retention_s // 3600)]

        fired = states(alarm, hours).index("ALARM")
        assert period_s(alarm) == 3600
        assert retention_s - fired * 3600 == 7 * 86400

    def test_one_event_that_keeps_failing_is_reported_until_it_is_given_up(
        self, all_alarms: dict[str, dict[str, Any]]
    ) -> None:
        """SQS soon leaves its age out. Each delivery takes a minute, and is as late as can be."""
        alarm, retries = all_alarms["OldestFailureAlarm"], RedeliveryPolicy()
        hours: list[list[float]] = [[] for _ in range(GIVE_UP_AFTER // timedelta(hours=1))]
        age_s, receives = 0.0, 1
        while (hour := int(age_s / period_s(alarm))) < len(hours):
            hours[hour].append(age_s)
            age_s += 60 + min(retries.first_s * 2.0**receives, retries.longest_s)
            receives += 1
        assert [] in hours

        found = states(alarm, hours)
        assert found.index("ALARM") <= 2
        assert set(found[2:]) == {"ALARM"}

    def test_silence_is_off_by_default_and_within_the_limit_of_cloudwatch(
        self, all_alarms: dict[str, dict[str, Any]], monitoring: template.Stack
    ) -> None:
        assert "SilenceAlarm" not in alarms(monitoring)
        longest = template.parameters()["AlarmSilenceHours"]["MaxValue"]
        assert longest * all_alarms["SilenceAlarm"]["Period"] <= 86400


class TestDashboard:
    def test_shows_the_metrics_that_the_function_emits_and_that_alarms_watch(
        self, monitoring: template.Stack, emitted: set[Metric]
    ) -> None:
        found = shown(monitoring)

        assert {metric for metric in found if metric[0] == "S3ToGcs"} == emitted
        assert set(EXPECTED.values()) - NOT_SHOWN <= found

    def test_egress_is_priced_by_the_bytes_that_were_sent(self, monitoring: template.Stack) -> None:
        priced = {}
        for widget in widgets(monitoring):
            metrics = {m[4].get("id"): m[1] for m in widget["metrics"] if len(m) > 4}
            expressions = (m[0] for m in widget["metrics"] if len(m) == 1)
            for each in expressions:
                if found := re.fullmatch(r"FILL\((.+), 0\) / (.+) \* 0.09", each["expression"]):
                    assert int(found[2]) == 1024**3
                    priced[each["label"]] = metrics.get(found[1])

        assert priced == {
            "AWS egress": "EgressBytes",
            "egress saved (US dollars, right)": "EgressSaved",
        }

    @pytest.mark.parametrize(
        ("architecture", "price"), [("x86_64", "0.0000166667"), ("arm64", "0.0000133334")]
    )
    def test_the_cost_depends_on_memory_and_processor(self, architecture: str, price: str) -> None:
        estimate = widgets(Stack(Architecture=architecture, MemorySize=2048).monitoring())[-1]
        expressions = [m[0]["expression"] for m in estimate["metrics"] if len(m) == 1]

        assert [e for e in expressions if f"* 2048 / 1024 * {price} +" in e]


def _result(reason: Reason) -> Result:
    return Result(
        ref=SOURCE,
        uri="gs://replica/key",
        reason=reason,
        source=None,
        replica=None,
        verified_by=VerifiedBy("made up", "made up"),
        fields_dropped=("made up",),
    )


def _written(output: str) -> Iterator[Metric]:
    """Yield the metrics in the log's lines of CloudWatch's embedded metric format."""
    for line in map(json.loads, output.splitlines()):
        for described in line.get("_aws", {}).get("CloudWatchMetrics", []):
            ((dimension,),) = described["Dimensions"]
            for metric in described["Metrics"]:
                yield described["Namespace"], metric["Name"], dimension, line[dimension]
