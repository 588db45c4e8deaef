"""Which principal may do what on which resource, in every mode."""

import json
import re

import pytest
from template.stack import (
    BUCKET,
    EVENT_QUEUE,
    EXECUTIONS,
    FAILURE_QUEUE,
    FUNCTION,
    KEY,
    MACHINE,
    MODES,
    RECONCILE_MACHINE,
    SECRET,
    Grant,
    Stack,
    grants,
    notifications,
    rights,
    statements,
    texts,
)

from tools.local.template import TEMPLATE

ACCOUNT = "123456789012"
INVOKE, SEND = "lambda:InvokeFunction", "sqs:SendMessage"
S3, EVENTBRIDGE = "s3.amazonaws.com", "events.amazonaws.com"
ROUTE = "arn:aws:execute-api:eu-central-1:123456789012:${Api}/*/POST/v1/replicate"
RULE = "${BucketRule.Arn}"

API_INVOKES = Grant(
    service="apigateway.amazonaws.com", action=INVOKE, resource=FUNCTION, source=ROUTE
)
S3_INVOKES = Grant(service=S3, action=INVOKE, resource=FUNCTION, source=BUCKET, account=ACCOUNT)
S3_SENDS = Grant(service=S3, action=SEND, resource=EVENT_QUEUE, source=BUCKET, account=ACCOUNT)
RULE_INVOKES = Grant(service=EVENTBRIDGE, action=INVOKE, resource=FUNCTION, source=RULE)
RULE_SENDS = Grant(service=EVENTBRIDGE, action=SEND, resource=EVENT_QUEUE, source=RULE)
RULE_FAILS = Grant(service=EVENTBRIDGE, action=SEND, resource=FAILURE_QUEUE, source=RULE)

NETWORK = {
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
}


class TestServices:
    @pytest.mark.parametrize(
        ("delivery", "kind", "expected"),
        [
            ("direct", "new", {S3_INVOKES, S3_SENDS}),
            ("queue", "new", {S3_INVOKES, S3_SENDS}),
            ("direct", "existing", {RULE_INVOKES, RULE_SENDS, RULE_FAILS}),
            ("queue", "existing", {RULE_INVOKES, RULE_SENDS, RULE_FAILS}),
        ],
    )
    def test_only_the_api_and_the_events_of_the_bucket_have_access(
        self, delivery: str, kind: str, expected: set[Grant]
    ) -> None:
        stack = Stack(Delivery=delivery, SourceBucketKind=kind)

        assert grants(stack) == {API_INVOKES, *expected}

    def test_each_role_is_for_one_service(self, stack: Stack) -> None:
        roles = stack.of_kind("AWS::IAM::Role")
        services = {
            "FunctionRole": "lambda",
            "LargeObjectMachineRole": "states",
            "ReconcileMachineRole": "states",
            "ReconcileSchedulerRole": "scheduler",
        }

        assert roles.keys() == services.keys()
        for name, service in services.items():
            assert "ManagedPolicyArns" not in roles[name].properties
            (statement,) = roles[name].properties["AssumeRolePolicyDocument"]["Statement"]
            assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
            assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}

    @pytest.mark.parametrize(
        ("role", "machine"),
        [("LargeObjectMachineRole", MACHINE), ("ReconcileMachineRole", RECONCILE_MACHINE)],
    )
    def test_step_functions_may_assume_a_role_for_its_machine_only(
        self, stack: Stack, role: str, machine: str
    ) -> None:
        (statement,) = stack.properties(role)["AssumeRolePolicyDocument"]["Statement"]

        assert statement["Condition"] == {
            "ArnEquals": {"aws:SourceArn": machine},
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
        }

    @pytest.mark.parametrize("name", ["SourceBucket", "ReportsBucket"])
    def test_new_buckets_are_private_and_deny_unencrypted_connections(
        self, stack: Stack, name: str
    ) -> None:
        bucket = stack.properties(name)
        (statement,) = statements(stack, f"{name}Policy")

        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Action"] == "s3:*"
        assert statement["Resource"] == [f"${{{name}.Arn}}", f"${{{name}.Arn}}/*"]
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    @pytest.mark.parametrize("mode", MODES)
    def test_queues_deny_unencrypted_connections(self, mode: dict[str, str]) -> None:
        stack = Stack(**mode)

        for queue in ("EventQueue", "FailureQueue"):
            denied, *allowed = statements(stack, f"{queue}Policy")
            assert stack.properties(f"{queue}Policy")["Queues"] == [f"${{{queue}}}"]
            assert (denied["Effect"], denied["Principal"]) == ("Deny", "*")
            assert (denied["Action"], denied["Resource"]) == ("sqs:*", f"${{{queue}.Arn}}")
            assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            assert {statement["Action"] for statement in allowed} <= {SEND}


class TestFunction:
    def test_has_these_rights_by_default(self, stack: Stack) -> None:
        assert rights(stack) == {
            f"{BUCKET}/*": {"s3:GetObject", "s3:GetObjectVersion"},
            BUCKET: {"s3:ListBucket"},
            SECRET: {"secretsmanager:GetSecretValue"},
            FAILURE_QUEUE: {SEND},
            EVENT_QUEUE: {
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ChangeMessageVisibility",
                SEND,
            },
            MACHINE: {"states:StartExecution", "states:DescribeStateMachine"},
            EXECUTIONS: {"states:DescribeExecution"},
            "${ReportsBucket.Arn}/*": {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"},
            "${ReportsBucket.Arn}": {"s3:ListBucket"},
            "${FunctionLogGroup.Arn}": {"logs:CreateLogStream", "logs:PutLogEvents"},
            "*": {"xray:PutTraceSegments", "xray:PutTelemetryRecords"},
        }

    @pytest.mark.parametrize(
        ("options", "resource", "added"),
        [
            (
                {"ReplicateTags": "contexts"},
                f"{BUCKET}/*",
                {"s3:GetObjectTagging", "s3:GetObjectVersionTagging"},
            ),
            ({"DecryptKmsKeyArns": KEY}, KEY, {"kms:Decrypt"}),
            ({"KmsKeyArn": KEY}, KEY, {"kms:Decrypt", "kms:GenerateDataKey"}),
            ({"VpcSubnetIds": "subnet-01234567"}, "*", NETWORK),
        ],
    )
    def test_gets_a_right_only_with_the_option_that_needs_it(
        self, stack: Stack, options: dict[str, str], resource: str, added: set[str]
    ) -> None:
        default = rights(stack)

        expected = {**default, resource: default.get(resource, set()) | added}
        assert rights(Stack(**options)) == expected

    def test_decrypts_with_several_keys(self) -> None:
        other = f"{KEY[:-1]}0"

        allowed = rights(Stack(DecryptKmsKeyArns=f"{KEY},{other}"))

        assert allowed[KEY] == allowed[other] == {"kms:Decrypt"}

    def test_code_may_not_use_the_vpc_rights(self, stack: Stack) -> None:
        """The Lambda service needs them; AWS sets the condition's key for requests of the code."""
        in_vpc = Stack(VpcSubnetIds="subnet-01234567", VpcSecurityGroupIds="sg-01234567")
        (denied,) = statements(in_vpc, "DenyVpcActionsToCode")

        assert in_vpc.properties("ReplicateFunction")["VpcConfig"] == {
            "SubnetIds": ["subnet-01234567"],
            "SecurityGroupIds": ["sg-01234567"],
        }
        assert (denied["Effect"], denied["Action"], denied["Resource"]) == ("Deny", "ec2:*", "*")
        assert denied["Condition"] == {"ArnEquals": {"lambda:SourceFunctionArn": FUNCTION}}
        assert "VpcConfig" not in stack.properties("ReplicateFunction")
        assert not stack.of_kind("AWS::IAM::RolePolicy")


def test_policy_to_copy_has_the_rights_of_the_functions_role() -> None:
    """Only X-Ray, keys and a VPC add to it, as docs/SECURITY.md says."""
    manual = (TEMPLATE.parent / "docs" / "SECURITY.md").read_text()
    (text,) = re.findall(r"```json\n(.*?)```", manual, re.DOTALL)
    documented: dict[str, set[str]] = {}
    for statement in json.loads(text)["Statement"]:
        actions = statement["Action"]
        names = actions if isinstance(actions, list) else [actions]
        documented.setdefault(statement["Resource"], set()).update(names)
        assert ("Condition" in statement) == (":s3:" in statement["Resource"])

    deployed = rights(Stack(ReplicateTags="contexts"))
    del deployed["*"]
    assert sorted(map(sorted, documented.values())) == sorted(map(sorted, deployed.values()))


@pytest.mark.parametrize("role", ["LargeObjectMachineRole", "ReconcileMachineRole"])
def test_state_machines_may_invoke_the_function_write_their_log_and_trace(
    stack: Stack, role: str
) -> None:
    assert rights(stack, role) == {
        FUNCTION: {INVOKE},
        "*": {
            "logs:CreateLogDelivery",
            "logs:GetLogDelivery",
            "logs:UpdateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        },
    }


def test_the_scheduler_may_start_a_report_and_nothing_else(stack: Stack) -> None:
    target = stack.properties("ReconcileScheduler")["Target"]

    assert rights(stack, "ReconcileSchedulerRole") == {
        "${ReconcileMachine}": {"states:StartExecution"}
    }
    assert (target["Arn"], target["RoleArn"]) == (
        "${ReconcileMachine}",
        "${ReconcileSchedulerRole.Arn}",
    )
    assert json.loads(target["Input"]) == {"mode": "report"}
    assert stack.properties("ReconcileScheduler")["ScheduleExpression"] == "rate(1 day)"
    assert not {"ReconcileScheduler", "ReconcileSchedulerRole"} & {
        *Stack(ReconcileSchedule="").resources
    }


class TestApi:
    def test_has_one_route_for_signed_requests(self, stack: Stack) -> None:
        (route,) = stack.of_kind("AWS::ApiGatewayV2::Route").values()

        assert route.properties["RouteKey"] == "POST /v1/replicate"
        assert route.properties["AuthorizationType"] == "AWS_IAM"

    def test_is_open_only_if_the_parameter_says_so(self) -> None:
        route = Stack(ApiAuthorization="NONE").properties("ReplicateRoute")

        assert route["AuthorizationType"] == "NONE"


@pytest.mark.parametrize("key", [None, KEY])
def test_queues_and_new_buckets_are_encrypted_with_the_key_or_by_aws(key: str | None) -> None:
    stack = Stack(**({"KmsKeyArn": key} if key else {}))
    for name in ("EventQueue", "FailureQueue"):
        queue = stack.properties(name)
        assert queue.get("KmsMasterKeyId") == key
        assert queue.get("SqsManagedSseEnabled") == (None if key else True)
    for name in ("SourceBucket", "ReportsBucket"):
        (rule,) = stack.properties(name)["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        default = rule["ServerSideEncryptionByDefault"]
        assert default.get("KMSMasterKeyID") == key
        assert default["SSEAlgorithm"] == ("aws:kms" if key else "AES256")


@pytest.mark.parametrize("mode", MODES)
def test_there_is_no_wildcard_and_no_secret_except_these(mode: dict[str, str]) -> None:
    stack = Stack(**mode)

    found = set(texts([[r.properties for r in stack.resources.values()], stack.outputs]))

    assert not [text for text in found if re.search(r"private_key|BEGIN|AKIA", text)]
    assert {text for text in found if "*" in text} <= {
        "*",  # who is denied unencrypted connections; actions without resources, as tested above
        "s3:*",  # denied
        "ec2:*",  # denied
        "sqs:*",  # denied
        "${SourceBucket.Arn}/*",
        "${ReportsBucket.Arn}/*",
        f"{BUCKET}/*",
        f"{BUCKET}/photos/*",
        ROUTE,
        EXECUTIONS,
        "photos/*",  # the event pattern's keys
        *(notification["Event"] for notification in notifications(stack)),
    }
