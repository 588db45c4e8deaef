"""The way of an event: from the bucket to the function, and to the queue of failed events."""

import re
from datetime import timedelta
from typing import Any

import pytest
from template.stack import (
    EVENT_QUEUE,
    FAILURE_QUEUE,
    FUNCTION,
    MODES,
    Stack,
    notifications,
    rights,
    texts,
    variables,
)

from replicate.entry.sqs import ABANDONED_AFTER
from replicate.settlement.letters import MAX_BODY_BYTES
from replicate.settlement.policy import GIVE_UP_AFTER, RedeliveryPolicy
from tools.local.template import Resource

DAY_S = 24 * 60 * 60
ALL_EVENTS = {"ReplicateDeletes": "with-lifecycle", "ReplicateTags": "metadata"}


def pattern(**parameters: str) -> dict[str, Any]:
    stack = Stack(SourceBucketKind="existing", **parameters)
    found: dict[str, Any] = stack.properties("BucketRule")["EventPattern"]
    return found


@pytest.mark.parametrize(("delivery", "target"), [("direct", FUNCTION), ("queue", EVENT_QUEUE)])
class TestTarget:
    def test_a_new_bucket_notifies_it(self, delivery: str, target: str) -> None:
        found = notifications(Stack(Delivery=delivery, **ALL_EVENTS))

        assert len(found) == 5
        assert {n.get("Function") or n.get("Queue") for n in found} == {target}

    def test_an_existing_bucket_reaches_it_through_eventbridge_and_is_not_changed(
        self, delivery: str, target: str
    ) -> None:
        stack = Stack(SourceBucketKind="existing", Delivery=delivery)

        assert [t["Arn"] for t in stack.properties("BucketRule")["Targets"]] == [target]
        assert {n for n, r in stack.resources.items() if r.kind.startswith("AWS::S3::")} == {
            "ReportsBucket",
            "ReportsBucketPolicy",
        }


class TestEvents:
    """The same events for a new bucket and for an existing one."""

    @pytest.mark.parametrize(
        ("options", "events", "types", "lifecycle"),
        [
            ({}, set(), set(), False),
            ({"ReplicateDeletes": "true"}, set(), set(), False),
            (
                {"ReplicateDeletes": "with-lifecycle"},
                {"s3:LifecycleExpiration:*"},
                set(),
                True,
            ),
            (
                {"ReplicateTags": "contexts"},
                {"s3:ObjectTagging:*"},
                {"Object Tags Added", "Object Tags Deleted"},
                False,
            ),
        ],
    )
    @pytest.mark.parametrize("delivery", ["direct", "queue"])
    def test_expirations_and_tags_are_delivered_only_if_they_are_replicated(
        self,
        delivery: str,
        options: dict[str, str],
        events: set[str],
        types: set[str],
        lifecycle: bool,  # noqa: FBT001 - a column
    ) -> None:
        rule = pattern(Delivery=delivery, **options)
        notified = {n["Event"] for n in notifications(Stack(Delivery=delivery, **options))}

        always = {"s3:ObjectCreated:*", "s3:ObjectRestore:Completed", "s3:ObjectRemoved:*"}
        assert notified == always | events
        always = {"Object Created", "Object Restore Completed", "Object Deleted"}
        assert set(rule["detail-type"]) == always | types
        assert ("reason" not in rule["detail"]) == lifecycle

    def test_an_event_without_a_reason_or_with_another_than_a_lifecycle_rule_is_delivered(
        self,
    ) -> None:
        assert pattern()["detail"]["reason"] == [
            {"exists": False},
            {"anything-but": "Lifecycle Expiration"},
        ]

    @pytest.mark.parametrize(
        ("prefix", "suffix", "wildcard"),
        [("photos/", "", "photos/*"), ("", ".jpg", "*.jpg"), ("photos/", ".jpg", "photos/*.jpg")],
    )
    @pytest.mark.parametrize("delivery", ["direct", "queue"])
    def test_only_keys_with_the_prefix_and_suffix_are_delivered(
        self, delivery: str, prefix: str, suffix: str, wildcard: str
    ) -> None:
        filters = {"SourcePrefix": prefix, "SourceSuffix": suffix}
        rules = {("prefix", prefix), ("suffix", suffix)} - {("prefix", ""), ("suffix", "")}

        found = notifications(Stack(Delivery=delivery, **filters, **ALL_EVENTS))

        assert len(found) == 5
        for notification in found:
            names = notification["Filter"]["S3Key"]["Rules"]
            assert {(rule["Name"], rule["Value"]) for rule in names} == rules
        assert pattern(**filters)["detail"]["object"] == {"key": [{"wildcard": wildcard}]}

    def test_all_keys_of_this_bucket_only_are_delivered_by_default(self, stack: Stack) -> None:
        assert not [n for n in notifications(stack) if "Filter" in n]
        assert pattern()["source"] == ["aws.s3"]
        assert pattern()["detail"]["bucket"] == {"name": ["my-source-bucket"]}
        assert "object" not in pattern()["detail"]


@pytest.mark.parametrize("mode", MODES)
class TestFailures:
    def test_every_event_that_fails_is_retried_by_the_queue_and_kept_when_it_fails_for_good(
        self, mode: dict[str, str]
    ) -> None:
        stack = Stack(**mode)
        asynchronous = stack.properties("AsyncInvocations")

        assert asynchronous["FunctionName"] == "${ReplicateFunction}"
        assert asynchronous["Qualifier"] == "$LATEST"
        assert asynchronous["DestinationConfig"] == {"OnFailure": {"Destination": EVENT_QUEUE}}
        assert stack.properties("EventQueue")["RedrivePolicy"] == {
            "deadLetterTargetArn": FAILURE_QUEUE,
            "maxReceiveCount": 1000,
        }
        assert variables(stack)["EVENT_QUEUE_URL"] == "${EventQueue}"
        assert variables(stack)["FAILURE_QUEUE_URL"] == "${FailureQueue}"
        for rule in stack.of_kind("AWS::Events::Rule").values():
            for target in rule.properties["Targets"]:
                assert target["DeadLetterConfig"] == {"Arn": FAILURE_QUEUE}

    def test_nothing_takes_events_out_of_the_dead_letter_queue(self, mode: dict[str, str]) -> None:
        """Only `make redrive` does, so no event loops."""
        stack = Stack(**mode)
        mappings = stack.of_kind("AWS::Lambda::EventSourceMapping").values()

        assert {m.properties["EventSourceArn"] for m in mappings} == {EVENT_QUEUE}
        assert "RedrivePolicy" not in stack.properties("FailureQueue")
        assert rights(stack)[FAILURE_QUEUE] == {"sqs:SendMessage"}

    def test_lambda_retries_only_the_events_of_a_batch_that_failed(
        self, mode: dict[str, str]
    ) -> None:
        mapping = Stack(**mode).properties("EventQueueMapping")

        assert mapping["FunctionName"] == FUNCTION
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    def test_each_place_holds_an_event_longer_than_the_place_before(
        self, mode: dict[str, str]
    ) -> None:
        """SQS counts from the first queue on when it moves a message itself."""
        stack = Stack(**mode)
        retention = "MessageRetentionPeriod"

        assert stack.properties("EventQueue")[retention] == 12 * DAY_S
        assert stack.properties("FailureQueue")[retention] == 14 * DAY_S
        assert GIVE_UP_AFTER < ABANDONED_AFTER < timedelta(days=12)

    def test_both_queues_hold_the_largest_message_of_sqs(self, mode: dict[str, str]) -> None:
        """Older queues hold a quarter of it by default."""
        stack = Stack(**mode)

        for queue in ("EventQueue", "FailureQueue"):
            assert stack.properties(queue)["MaximumMessageSize"] == MAX_BODY_BYTES

    def test_nobody_may_use_the_event_queue_as_a_dead_letter_queue(
        self, mode: dict[str, str]
    ) -> None:
        allowed = Stack(**mode).properties("EventQueue")["RedriveAllowPolicy"]

        assert allowed == {"redrivePermission": "denyAll"}

    def test_queues_and_logs_outlive_the_stack(self, mode: dict[str, str]) -> None:
        stack = Stack(**mode)

        queues, logs = stack.of_kind("AWS::SQS::Queue"), stack.of_kind("AWS::Logs::LogGroup")
        for name, kept in (queues | logs).items():
            assert kept.attributes["DeletionPolicy"] == "RetainExceptOnCreate", name
            assert kept.attributes["UpdateReplacePolicy"] == "Retain", name

    def test_the_next_stack_of_the_same_name_has_logs_of_its_own(
        self, mode: dict[str, str]
    ) -> None:
        """CloudFormation cannot create a log group whose name is taken by one that stayed."""
        logs = Stack(**mode).of_kind("AWS::Logs::LogGroup")

        names = [log.properties.get("LogGroupName") for log in logs.values()]
        assert len(names) == 4
        assert all(name is None or name.endswith("-1a2b3c4d") for name in names), "the stack's ID"


class TestTimeouts:
    def test_a_message_stays_hidden_for_at_least_six_timeouts_of_the_function(
        self, stack: Stack
    ) -> None:
        visibility = stack.properties("EventQueue")["VisibilityTimeout"]

        assert visibility >= 6 * stack.properties("ReplicateFunction")["Timeout"]

    def test_asynchronous_retries_end_before_the_queue_would_lose_an_event(
        self, stack: Stack
    ) -> None:
        age = stack.properties("AsyncInvocations")["MaximumEventAgeInSeconds"]

        assert age >= 6 * 60 * 60, "Lambda's maximum, so that throttles do not fail events early"
        assert age < stack.properties("FailureQueue")["MessageRetentionPeriod"]

    def test_an_event_may_fail_for_days_before_sqs_counts_it_out(self, stack: Stack) -> None:
        receives = stack.properties("EventQueue")["RedrivePolicy"]["maxReceiveCount"]
        shortest_s = RedeliveryPolicy().longest_s / 2

        assert receives * shortest_s > GIVE_UP_AFTER.total_seconds()

    def test_the_gateway_answers_before_the_function_ends(self, stack: Stack) -> None:
        """HTTP APIs allow 30 seconds; the execution goes on and finishes the object."""
        timeout_ms = stack.properties("FunctionIntegration")["TimeoutInMillis"]

        assert timeout_ms <= 30_000
        assert timeout_ms < stack.properties("ReplicateFunction")["Timeout"] * 1000


class TestApi:
    def test_the_route_invokes_the_function_with_the_payload_that_it_reads(
        self, stack: Stack
    ) -> None:
        integration = stack.properties("FunctionIntegration")
        route = stack.properties("ReplicateRoute")

        assert route["Target"] == "integrations/${FunctionIntegration}"
        assert f"/functions/{FUNCTION}/invocations" in integration["IntegrationUri"]
        assert integration["PayloadFormatVersion"] == "2.0"

    def test_requests_are_limited_to_the_rate_and_logged(self) -> None:
        stage = Stack(ApiRateLimit=7).properties("ApiStage")

        assert set(stage["DefaultRouteSettings"].values()) == {7}
        assert stage["AccessLogSettings"]["DestinationArn"] == "${ApiLogGroup.Arn}"


class TestCapacity:
    @pytest.mark.parametrize(("concurrency", "polls"), [(-1, True), (0, False), (5, True)])
    def test_a_stopped_function_does_not_poll_the_queue(
        self, concurrency: int, *, polls: bool
    ) -> None:
        """Throttled deliveries would count as attempts."""
        stack = Stack(ReservedConcurrency=concurrency)
        reserved = stack.properties("ReplicateFunction").get("ReservedConcurrentExecutions")

        assert stack.properties("EventQueueMapping")["Enabled"] is polls
        assert reserved == (None if concurrency < 0 else concurrency)

    def test_parameters_set_size_and_concurrency(self) -> None:
        stack = Stack(Architecture="arm64", MemorySize=2048, QueueConcurrency=7)
        function = stack.properties("ReplicateFunction")
        scaling = stack.properties("EventQueueMapping")["ScalingConfig"]

        assert (function["Architectures"], function["MemorySize"]) == (["arm64"], 2048)
        assert scaling == {"MaximumConcurrency": 7}


class TestOrder:
    @pytest.mark.parametrize(
        ("delivery", "permission"), [("direct", "S3MayInvoke"), ("queue", "EventQueuePolicy")]
    )
    def test_the_permission_exists_before_the_bucket_notifies(
        self, delivery: str, permission: str
    ) -> None:
        """S3 tests the target when the notification is set."""
        assert permission in _needed_by("SourceBucket", Stack(Delivery=delivery).resources)

    @pytest.mark.parametrize("kind", ["new", "existing"])
    @pytest.mark.parametrize(("before", "after"), [("direct", "queue"), ("queue", "direct")])
    def test_a_change_of_delivery_loses_no_event(self, before: str, after: str, kind: str) -> None:
        """Queues and retries stay, and what is needed of the old way outlives the change.

        CloudFormation changes resources in any order, and deletes what is gone in the end. S3 and
        EventBridge may go the old way for some minutes after that, so no permission is deleted.
        """
        old, new = (Stack(Delivery=each, SourceBucketKind=kind) for each in (before, after))
        kept = old.resources.keys() & new.resources.keys()

        (changed,) = [name for name in kept if old.resources[name] != new.resources[name]]
        assert changed == ("SourceBucket" if kind == "new" else "BucketRule")
        assert new.resources.keys() - kept <= _needed_by(changed, new.resources)
        gone = {old.resources[name].kind for name in old.resources.keys() - kept}
        assert not gone & {"AWS::Lambda::Permission", "AWS::SQS::QueuePolicy"}

    @pytest.mark.parametrize("mode", MODES)
    def test_no_resource_depends_on_itself(self, mode: dict[str, str]) -> None:
        resources = Stack(**mode).resources

        for name in resources:
            assert name not in _needed_by(name, resources), name

    def test_the_bucket_outlives_the_stack(self, stack: Stack) -> None:
        for name in ("SourceBucket", "SourceBucketPolicy"):
            attributes = stack.resources[name].attributes
            assert attributes["DeletionPolicy"] == "RetainExceptOnCreate"
            assert attributes["UpdateReplacePolicy"] == "Retain"


def _needed_by(name: str, resources: dict[str, Resource]) -> set[str]:
    """Return the names of all resources that CloudFormation creates before this one."""
    needed: set[str] = set()
    todo = [name]
    while todo:
        resource = resources[todo.pop()]
        own = texts([resource.properties, resource.attributes])
        references = {n for text in own for n in (text, *re.findall(r"\$\{(\w+)", text))}
        direct = references & resources.keys()
        todo.extend(direct - needed)
        needed |= direct
    return needed
