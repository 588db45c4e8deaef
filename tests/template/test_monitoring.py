"""Alarms and dashboard watch metrics that exist, and the alarms reach a person."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from memory import EVENTS as SAMPLES
from memory import Context, MemoryStores, sample_event
from template.alarms import Metrics, period_s, states
from template.stack import Stack, variables

from replicate.entry.invocation import Change
from replicate.errors import CredentialsError, IntegrityError
from replicate.protocol.model import Reason, Result, SourceRef, Status, VerifiedBy
from replicate.reconcile import counts
from replicate.settlement.policy import COSTLY_WAITS, GIVE_UP_AFTER, RedeliveryPolicy
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
    "DeadLetterAgeAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", *FAILURES),
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
    "ForeignOverwrittenAlarm": ("S3ToGcs", "ForeignOverwritten", "service", "stack"),
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
NOT_SHOWN = {("AWS/ApiGateway", "5xx", "ApiId", "${Api}")}
"""Metrics of alarms that the dashboard does without."""

SILENCE = {"SilenceAlarm": ("S3ToGcs", "EventsReceived", "service", "stack")}


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
        for reason in Reason:
            telemetry.record(Change(SOURCE, now), _result(reason), now)
        for error in (IntegrityError("made up"), CredentialsError("made up")):
            telemetry.record(Change(SOURCE), error, now)
        telemetry.received(1)
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

    def test_of_an_existing_bucket_watch_its_rule_and_of_silence_the_events(self) -> None:
        stack = Stack(SourceBucketKind="existing", AlarmSilenceHours=12)
        found = {name: watched(alarm) for name, alarm in alarms(stack.monitoring()).items()}

        assert found == EXPECTED | OF_AN_EXISTING_BUCKET | SILENCE

    def test_watch_metrics_that_the_function_emits(
        self, monitoring: template.Stack, emitted: set[Metric]
    ) -> None:
        found = {watched(alarm) for alarm in alarms(monitoring).values()} | {*SILENCE.values()}

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
    "DeadLetterAgeAlarm": ([[1]] * 7 * 24, [[1]] * (7 * 24 - 1)),
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
    "ForeignOverwrittenAlarm": ([[2]], [[0]]),
    "CredentialsAlarm": ([[1]], [[0]]),
    "LargeObjectFailedAlarm": ([[1]], [[0]]),
    "LargeObjectTimedOutAlarm": ([[1]], [[0]]),
    "LargeObjectAbortedAlarm": ([[1]], [[0]]),
    "SilenceAlarm": ([[], [], []], [[], [1], []]),
    "ReconcileMissingAlarm": ([[], [], []], [[], [1], []]),
    "ReconcileDifferencesAlarm": ([[1]], [[0]]),
}
"""Values of the metric in each period: when the alarm fires, and when it just does not."""

OTHERS = ("api-", "batch-", "s3-test", "sqs-dead", "sqs-exec", "sqs-fail", "sqs-nom", "sqs-retried")
"""Samples of invocations without a new event."""

CALM: dict[str, Periods] = {"DeadLetterAgeAlarm": [[0]] * 4}
"""What comes before and after an incident, where it is not that nothing happens.

A queue that was emptied has data for six hours. Source: "Monitoring Amazon SQS queues" in SQS's
developer guide.
"""


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
        calm = CALM.get(name, QUIET)
        if alarm["TreatMissingData"] in {"breaching", "ignore"}:
            calm = [*harmless] * 3

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

    def test_dead_letters_are_reported_a_week_before_they_are_deleted_whoever_looks_at_them(
        self, all_alarms: dict[str, dict[str, Any]], stack: Stack
    ) -> None:
        """SQS gives no age of a letter that was received three times, and counts it all the same.

        Somebody hides both letters of the queue in most hours, in some of them at every sample.
        One hour has no data.
        """
        alarm = all_alarms["DeadLetterAgeAlarm"]
        retention_s = stack.properties("FailureQueue")["MessageRetentionPeriod"]
        hours = range(retention_s // period_s(alarm))
        visible = [[[2.0, 2.0], [2.0, 0.0], [0.0, 0.0]][hour % 3] for hour in hours]
        hidden = [[2.0 - each for each in values] for values in visible]
        visible[100], hidden[100] = [], []

        found = states(alarm, {"visible": visible, "hidden": hidden})
        fired_s = (found.index("ALARM") + 1) * period_s(alarm)
        assert retention_s - fired_s == 7 * 86400
        assert set(found[found.index("ALARM") :]) == {"ALARM"}, "nobody looks it away"
        assert fired_s == alarm["EvaluationPeriods"] * period_s(alarm) == 604_800
        assert period_s(alarm) >= 3600, "CloudWatch allows seven days only for such periods"

    def test_dead_letters_that_are_redriven_every_day_do_not_look_like_one_that_stays(
        self, all_alarms: dict[str, dict[str, Any]]
    ) -> None:
        alarm = all_alarms["DeadLetterAgeAlarm"]
        day = [[1.0]] * 8 + [[0.0]] * 6 + [[]] * 10  # without messages, SQS soon has no metrics

        assert "ALARM" not in states(alarm, day * 14)

    def test_one_event_that_keeps_failing_is_reported_until_it_is_given_up(
        self, all_alarms: dict[str, dict[str, Any]]
    ) -> None:
        """SQS soon leaves its age out. Each delivery takes a minute, and is as late as can be."""
        alarm, retries = all_alarms["OldestFailureAlarm"], RedeliveryPolicy()
        hours: list[list[float]] = [[] for _ in range(GIVE_UP_AFTER // timedelta(hours=1))]
        age_s, receives = 0.0, 1
        while (hour := int(age_s / period_s(alarm))) < len(hours):
            hours[hour].append(age_s)
            wait_s = min(retries.first_s * 2.0**receives, retries.longest_s)
            age_s += 60 + COSTLY_WAITS * wait_s
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
        assert longest * all_alarms["SilenceAlarm"]["Period"] == 7 * 86400

    def test_silence_is_noticed_while_everything_but_new_events_invokes_the_function(
        self, all_alarms: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Reconciles, what they nominate, retries, redrives, copies, tasks and requests."""
        stores = MemoryStores()

        def hour(*names: str) -> list[float]:
            capsys.readouterr()
            with (telemetry := Telemetry(stores.service, "Test")).invocation("reconcile"):
                telemetry.stepped("report", {})
                telemetry.reconciled(counts.zero(), 5)
            for name in names:
                stores.function().handle(sample_event(name), Context())
            return [v for line in _lines(capsys) for v in line.get("EventsReceived", [])]

        others = [path.stem for path in SAMPLES.glob("*.json") if path.stem.startswith(OTHERS)]
        assert len(others) == 11
        found = states(
            all_alarms["SilenceAlarm"],
            [*[hour(*others, "s3-put")] * 3, *[hour(*others)] * 3, hour("sqs-eventbridge")],
        )
        assert found[2:] == ["OK", "OK", "OK", "ALARM", "OK"]


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
        execution="made-up-1" if reason.status is Status.IN_PROGRESS else None,
    )


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _written(output: str) -> Iterator[Metric]:
    """Yield the metrics in the log's lines of CloudWatch's embedded metric format."""
    for line in map(json.loads, output.splitlines()):
        for described in line.get("_aws", {}).get("CloudWatchMetrics", []):
            ((dimension,),) = described["Dimensions"]
            for metric in described["Metrics"]:
                yield described["Namespace"], metric["Name"], dimension, line[dimension]
