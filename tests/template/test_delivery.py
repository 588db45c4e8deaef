"""The ways of an event to the function, and to rest if it fails: by queue, bridge and redrive."""

from typing import Any

import pytest
from template.stack import FUNCTION, KEY, MODES, SECRET, Stack, notifications, rights, statements

from tools.local.template import ALIAS, parameters

EVENT_QUEUE, FAILURE_QUEUE = "${EventQueue.Arn}", "${FailureQueue.Arn}"
FOURTEEN_DAYS_S = 14 * 24 * 60 * 60

EVERY_EVENT = {
    "ReplicateDeletes": "true",
    "ReplicateLifecycleDeletes": "true",
    "ReplicateTags": "metadata",
}


def pattern(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = stack.properties("BucketRule")["EventPattern"]
    return found


def senders(stack: Stack, policy: str) -> list[dict[str, Any]]:
    return statements([stack.properties(policy)])


@pytest.mark.parametrize("mode", MODES)
class TestQueues:
    def test_a_failure_rests_in_the_failure_queue_whichever_way_it_came(
        self, mode: dict[str, str]
    ) -> None:
        stack = Stack(**mode)

        redrive = stack.properties("EventQueue")["RedrivePolicy"]
        asynchronous = stack.properties("AsyncInvocations")["DestinationConfig"]

        assert redrive == {"deadLetterTargetArn": FAILURE_QUEUE, "maxReceiveCount": 5}
        assert asynchronous == {"OnFailure": {"Destination": FAILURE_QUEUE}}
        for rule in stack.of_kind("AWS::Events::Rule").values():
            for target in rule.properties["Targets"]:
                assert target["DeadLetterConfig"] == {"Arn": FAILURE_QUEUE}

    def test_the_failure_queue_gives_to_nobody_by_itself(self, mode: dict[str, str]) -> None:
        """Only a person's redrive takes messages out of it: nothing goes round in circles."""
        stack = Stack(**mode)
        mappings = stack.of_kind("AWS::Lambda::EventSourceMapping").values()

        assert "RedrivePolicy" not in stack.properties("FailureQueue")
        assert {m.properties["EventSourceArn"] for m in mappings} == {EVENT_QUEUE}
        assert rights(stack)[FAILURE_QUEUE] == {"sqs:SendMessage"}

    def test_what_is_run_again_is_the_functions_with_partial_answers(
        self, mode: dict[str, str]
    ) -> None:
        expected = ALIAS if mode["SnapStartVersion"] else FUNCTION

        assert Stack(**mode).properties("EventQueueMapping") == {
            "FunctionName": expected,
            "EventSourceArn": EVENT_QUEUE,
            "Enabled": True,
            "BatchSize": 10,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "ScalingConfig": {"MaximumConcurrency": 20},
        }

    def test_events_are_kept_for_14_days_and_encrypted(self, mode: dict[str, str]) -> None:
        stack = Stack(**mode)
        key = mode.get("QueueKmsKeyArn")
        encryption = {"KmsMasterKeyId": key} if key else {"SqsManagedSseEnabled": True}

        for name in ("EventQueue", "FailureQueue"):
            queue = stack.properties(name)
            assert queue["MessageRetentionPeriod"] == FOURTEEN_DAYS_S
            assert encryption.items() <= queue.items()
            assert len({"KmsMasterKeyId", "SqsManagedSseEnabled"} & queue.keys()) == 1


@pytest.mark.parametrize("seconds", parameters()["FunctionTimeout"]["AllowedValues"])
def test_a_message_is_hidden_for_six_times_as_long_as_the_function_runs(seconds: int) -> None:
    stack = Stack(FunctionTimeout=seconds)

    assert stack.properties("ReplicateFunction")["Timeout"] == seconds
    assert stack.properties("EventQueue")["VisibilityTimeout"] == 6 * seconds


def test_batch_size_and_concurrency_of_the_queue_are_parameters() -> None:
    mapping = Stack(QueueBatchSize=3, QueueConcurrency=7).properties("EventQueueMapping")

    assert mapping["BatchSize"] == 3
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 7}


def test_a_stopped_function_is_handed_nothing() -> None:
    """Throttled deliveries would count as attempts, and the events end in the failure queue."""
    for concurrency, enabled in ((-1, True), (0, False), (5, True)):
        mapping = Stack(ReservedConcurrency=concurrency).properties("EventQueueMapping")
        assert mapping["Enabled"] is enabled


class TestNewBucketThroughTheQueue:
    def test_the_bucket_notifies_the_queue_and_nobody_else(self) -> None:
        stack = Stack(Delivery="queue", **EVERY_EVENT)

        assert notifications(stack) == [
            {"Event": event, "Queue": EVENT_QUEUE}
            for event in (
                "s3:ObjectCreated:*",
                "s3:ObjectRestore:Completed",
                "s3:ObjectRemoved:*",
                "s3:LifecycleExpiration:*",
                "s3:ObjectTagging:*",
            )
        ]
        assert "S3MayInvoke" not in stack.resources

    def test_only_this_bucket_of_this_account_may_send(self) -> None:
        assert senders(Stack(Delivery="queue"), "EventQueuePolicy") == [
            {
                "Sid": "BucketSendsItsEvents",
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": EVENT_QUEUE,
                "Condition": {
                    "ArnEquals": {"aws:SourceArn": "arn:aws:s3:::my-source-bucket"},
                    "StringEquals": {"aws:SourceAccount": "123456789012"},
                },
            }
        ]

    def test_directly_nobody_but_the_owner_may_send(self, stack: Stack) -> None:
        assert not stack.of_kind("AWS::SQS::QueuePolicy")


class TestExistingBucket:
    @pytest.mark.parametrize("delivery", ["direct", "queue"])
    def test_is_neither_made_nor_changed(self, delivery: str) -> None:
        stack = Stack(SourceBucketKind="existing", Delivery=delivery)

        assert not [r for r in stack.resources.values() if r.kind.startswith("AWS::S3::")]
        assert "S3MayInvoke" not in stack.resources
        assert stack.outputs["SourceBucketName"] == "my-source-bucket"

    def test_its_creations_and_restorations_come_through_eventbridge(self) -> None:
        assert pattern(Stack(SourceBucketKind="existing")) == {
            "source": ["aws.s3"],
            "detail-type": ["Object Created", "Object Restore Completed"],
            "detail": {
                "bucket": {"name": ["my-source-bucket"]},
                "reason": [{"exists": False}, {"anything-but": "Lifecycle Expiration"}],
            },
        }

    def test_deletions_and_tags_come_only_when_they_are_replicated(self) -> None:
        everything = pattern(Stack(SourceBucketKind="existing", **EVERY_EVENT))

        assert everything["detail-type"] == [
            "Object Created",
            "Object Restore Completed",
            "Object Deleted",
            "Object Tags Added",
            "Object Tags Deleted",
        ]
        assert "reason" not in everything["detail"]

    @pytest.mark.parametrize(
        ("prefix", "suffix", "wildcard"),
        [("photos/", "", "photos/*"), ("", ".jpg", "*.jpg"), ("photos/", ".jpg", "photos/*.jpg")],
    )
    def test_only_keys_of_the_prefix_and_the_suffix(
        self, prefix: str, suffix: str, wildcard: str
    ) -> None:
        stack = Stack(SourceBucketKind="existing", SourcePrefix=prefix, SourceSuffix=suffix)

        assert pattern(stack)["detail"]["object"] == {"key": [{"wildcard": wildcard}]}

    def test_the_rule_invokes_the_function_and_may(self) -> None:
        stack = Stack(SourceBucketKind="existing")

        assert [t["Arn"] for t in stack.properties("BucketRule")["Targets"]] == [FUNCTION]
        assert stack.properties("BridgeMayInvoke") == {
            "FunctionName": FUNCTION,
            "Action": "lambda:InvokeFunction",
            "Principal": "events.amazonaws.com",
            "SourceArn": "${BucketRule.Arn}",
        }

    def test_the_rule_sends_to_the_queue_and_may_and_then_it_invokes_nothing(self) -> None:
        stack = Stack(SourceBucketKind="existing", Delivery="queue")
        (statement,) = senders(stack, "EventQueuePolicy")

        assert [t["Arn"] for t in stack.properties("BucketRule")["Targets"]] == [EVENT_QUEUE]
        assert "BridgeMayInvoke" not in stack.resources
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": "${BucketRule.Arn}"}}

    @pytest.mark.parametrize("delivery", ["direct", "queue"])
    def test_what_the_rule_cannot_deliver_it_may_keep(self, delivery: str) -> None:
        stack = Stack(SourceBucketKind="existing", Delivery=delivery)

        assert senders(stack, "FailureQueuePolicy") == [
            {
                "Sid": "RuleKeepsWhatItCannotDeliver",
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": FAILURE_QUEUE,
                "Condition": {"ArnEquals": {"aws:SourceArn": "${BucketRule.Arn}"}},
            }
        ]


class TestKeys:
    @pytest.mark.parametrize(
        ("parameter", "actions"),
        [
            ("SecretKmsKeyArn", {"kms:Decrypt"}),
            ("SourceKmsKeyArn", {"kms:Decrypt"}),
            ("QueueKmsKeyArn", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ],
    )
    def test_are_used_exactly_where_they_are_given(
        self, stack: Stack, parameter: str, actions: set[str]
    ) -> None:
        options: dict[str, str] = {parameter: KEY}

        assert rights(Stack(**options)) == {**rights(stack), KEY: actions}

    def test_a_new_bucket_encrypts_with_the_sources_key(self) -> None:
        encryption = Stack(SourceKmsKeyArn=KEY).properties("SourceBucket")["BucketEncryption"]

        assert encryption["ServerSideEncryptionConfiguration"] == [
            {
                "ServerSideEncryptionByDefault": {
                    "SSEAlgorithm": "aws:kms",
                    "KMSMasterKeyID": KEY,
                },
                "BucketKeyEnabled": True,
            }
        ]

    def test_the_secret_is_read_by_its_arn(self, stack: Stack) -> None:
        assert rights(stack)[SECRET] == {"secretsmanager:GetSecretValue"}


class TestVpc:
    NETWORK = frozenset(
        {
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        }
    )

    def test_the_function_is_in_none_by_default(self, stack: Stack) -> None:
        assert "VpcConfig" not in stack.properties("ReplicateFunction")
        assert not stack.of_kind("AWS::IAM::RolePolicy")

    def test_the_rights_are_lambdas_and_not_the_codes(self) -> None:
        stack = Stack(
            Tracing="PassThrough",
            VpcSubnetIds="subnet-01234567,subnet-89abcdef",
            VpcSecurityGroupIds="sg-01234567",
        )
        (denied,) = statements([stack.properties("CodeMayNotUseNetworkRights")])

        assert stack.properties("ReplicateFunction")["VpcConfig"] == {
            "SubnetIds": ["subnet-01234567", "subnet-89abcdef"],
            "SecurityGroupIds": ["sg-01234567"],
        }
        assert rights(stack)["*"] == self.NETWORK
        assert denied["Effect"] == "Deny"
        assert set(denied["Action"]) == self.NETWORK
        assert denied["Condition"] == {"ArnEquals": {"lambda:SourceFunctionArn": FUNCTION}}
