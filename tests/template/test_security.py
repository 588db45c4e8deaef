"""What an organization may ask of a stack: owners, prefixes, boundaries, keys, no public API."""

import json
import re
from typing import Any

import pytest
from template.stack import BUCKET, KEY, MODES, REQUIRED, Stack, statements

from tools.local.runtime import REPOSITORY
from tools.local.template import document

BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
API = {
    "Api",
    "ReplicateRoute",
    "FunctionIntegration",
    "ApiStage",
    "ApiLogGroup",
    "ApiMayInvoke",
}


def source_statements(stack: Stack) -> list[dict[str, Any]]:
    """Return the statements of the function's role about the source bucket."""
    found = statements(stack, "FunctionRole")
    return [each for each in found if str(each["Resource"]).startswith(BUCKET)]


@pytest.mark.parametrize(
    ("account", "owner"), [("", "123456789012"), ("210987654321", "210987654321")]
)
def test_each_bucket_is_used_only_while_its_owner_is_the_same(account: str, owner: str) -> None:
    stack = Stack(SourceBucketAccount=account, ReplicateTags="contexts")

    found = statements(stack, "FunctionRole")

    owners = [
        (each["Resource"].startswith(BUCKET), each["Condition"])
        for each in found
        if "s3:" in str(each["Action"])
    ]
    source = (True, {"StringEquals": {"aws:ResourceAccount": owner}})
    reports = (False, {"StringEquals": {"aws:ResourceAccount": "123456789012"}})
    assert sorted(owners, key=str) == [reports] * 2 + [source] * 3


@pytest.mark.parametrize(
    ("prefix", "readable"),
    [
        ("", "*"),
        ("photos/", "photos/*"),
        ("year%3D2026/", "year*"),
        ("a+b/", "a*"),
        ("photos/a+b%3D/", "photos/a*"),
    ],
)
def test_only_keys_with_the_plain_beginning_of_the_prefix_can_be_read(
    prefix: str, readable: str
) -> None:
    stack = Stack(SourcePrefix=prefix, ReplicateTags="contexts")

    objects = {each["Resource"] for each in source_statements(stack)} - {BUCKET}

    assert objects == {f"{BUCKET}/{readable}"}


@pytest.mark.parametrize("mode", MODES)
def test_every_role_has_the_boundary_and_the_path(mode: dict[str, str]) -> None:
    stack = Stack(**mode, PermissionsBoundaryArn=BOUNDARY, RolePath="/replication/")

    for role in stack.of_kind("AWS::IAM::Role").values():
        assert role.properties["PermissionsBoundary"] == BOUNDARY
        assert role.properties["Path"] == "/replication/"
    for role in Stack(**mode).of_kind("AWS::IAM::Role").values():
        assert "PermissionsBoundary" not in role.properties
        assert role.properties["Path"] == "/"


def test_every_log_group_and_the_alarm_topic_have_the_keys() -> None:
    stack = Stack(LogKmsKeyArn=KEY, AlarmTopicKmsKeyArn=KEY)

    groups = stack.of_kind("AWS::Logs::LogGroup")
    topics = stack.monitoring().of_kind("AWS::SNS::Topic")

    assert len(groups) >= 4
    assert {group.properties["KmsKeyId"] for group in groups.values()} == {KEY}
    assert {topic.properties["KmsMasterKeyId"] for topic in topics.values()} == {KEY}
    plain = Stack()
    assert not [
        g for g in plain.of_kind("AWS::Logs::LogGroup").values() if "KmsKeyId" in g.properties
    ]
    assert "KmsMasterKeyId" not in plain.monitoring().properties("AlarmTopic")


def test_keys_are_used_through_the_services_that_need_them_only() -> None:
    stack = Stack(KmsKeyArn=KEY, DecryptKmsKeyArns=KEY)

    via = [
        statement["Condition"]["StringEquals"]["kms:ViaService"]
        for statement in statements(stack, "FunctionRole")
        if "kms:" in str(statement["Action"])
    ]

    region = "eu-central-1.amazonaws.com"
    assert via == [
        [f"s3.{region}", f"secretsmanager.{region}"],
        [f"s3.{region}", f"sqs.{region}"],
    ]


def test_api_can_be_left_out() -> None:
    stack, without = Stack(), Stack(ApiAuthorization="OFF")

    assert stack.resources.keys() - without.resources.keys() == API
    assert "ApiUrl" in stack.outputs
    assert "ApiUrl" not in without.outputs


def test_public_api_needs_a_second_parameter() -> None:
    """CloudFormation checks rules before it creates anything."""
    rule = document()["Rules"]["PublicApi"]

    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "ApiAuthorization"}, "NONE"]}
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Equals": [{"Ref": "ApiIsPublic"}, "true"]}
    assert document()["Parameters"]["ApiIsPublic"]["Default"] == "false"


def holds(condition: dict[str, Any], values: dict[str, list[str]]) -> bool:
    """Evaluate a condition of a rule as CloudFormation does, for these values of parameters."""
    match condition:
        case {"Fn::Not": [negated]}:
            return not holds(negated, values)
        case {"Fn::EachMemberEquals": [{"Ref": name}, text]}:
            return all(member == text for member in values[name])
    raise NotImplementedError(condition)


@pytest.mark.parametrize("empty", [[""], []], ids=["empty text", "no text"])
@pytest.mark.parametrize("subnets", [None, ["subnet-1", "subnet-2"]])
@pytest.mark.parametrize("groups", [None, ["sg-1"]])
def test_subnets_and_security_groups_come_together(
    subnets: list[str] | None, groups: list[str] | None, empty: list[str]
) -> None:
    values = {"VpcSubnetIds": subnets or empty, "VpcSecurityGroupIds": groups or empty}

    accepted = [
        holds(assertion["Assert"], values)
        for name, rule in document()["Rules"].items()
        if name != "PublicApi" and holds(rule["RuleCondition"], values)
        for assertion in rule["Assertions"]
    ]

    assert all(accepted) is (bool(subnets) is bool(groups))
    assert len(accepted) == bool(subnets) + bool(groups)


def test_log_group_of_the_api_does_not_use_up_the_policy_of_the_account() -> None:
    assert (
        Stack().properties("ApiLogGroup")["LogGroupName"] == "/aws/vendedlogs/apis/stack-1a2b3c4d"
    )


def test_secret_may_name_hosts_of_google_only_by_default() -> None:
    assert REQUIRED.keys().isdisjoint({"GoogleApiDomains"})
    assert document()["Parameters"]["GoogleApiDomains"]["Default"] == "googleapis.com"


POLICY = json.loads((REPOSITORY / "docs" / "policies" / "deployer.json").read_text())
ANY = "*"
APIS = "arn:aws:apigateway:REGION::/apis"
ARTIFACTS = "arn:aws:s3:::aws-sam-cli-managed-default-*"
BUCKETS = "arn:aws:s3:::SOURCE_BUCKET"
FUNCTIONS = "arn:aws:lambda:REGION:ACCOUNT:function:STACK-*"
QUEUES = "arn:aws:sqs:REGION:ACCOUNT:STACK-*"
ROLES = "arn:aws:iam::ACCOUNT:roleROLE_PATHSTACK-*"
STACKS = "arn:aws:cloudformation:REGION:ACCOUNT:stack"
NEEDS: dict[str, dict[str, str]] = {
    "AWS::ApiGatewayV2::Api": {APIS: "GET POST PATCH PUT DELETE TagResource UntagResource"},
    "AWS::ApiGatewayV2::Integration": {f"{APIS}/*": "GET POST PATCH PUT DELETE"},
    "AWS::ApiGatewayV2::Route": {f"{APIS}/*": "GET POST PATCH PUT DELETE"},
    "AWS::ApiGatewayV2::Stage": {
        f"{APIS}/*": "GET POST PATCH DELETE TagResource UntagResource",
        ANY: "logs:CreateLogDelivery logs:UpdateLogDelivery logs:DeleteLogDelivery"
        " logs:PutResourcePolicy logs:DescribeResourcePolicies logs:DescribeLogGroups",
    },
    "AWS::CloudFormation::Stack": {
        f"{STACKS}/STACK-Monitoring-*/*": "DescribeStacks CreateStack UpdateStack DeleteStack",
    },
    "AWS::CloudWatch::Alarm": {
        "arn:aws:cloudwatch:REGION:ACCOUNT:alarm:STACK-*": "PutMetricAlarm DeleteAlarms"
        " TagResource UntagResource ListTagsForResource",
        ANY: "DescribeAlarms",
    },
    "AWS::CloudWatch::Dashboard": {
        "arn:aws:cloudwatch::ACCOUNT:dashboard/*": "PutDashboard GetDashboard DeleteDashboards"
        " TagResource UntagResource ListTagsForResource",
    },
    "AWS::Events::Rule": {
        "arn:aws:events:REGION:ACCOUNT:rule/STACK-*": "PutRule DescribeRule DeleteRule PutTargets"
        " RemoveTargets ListTargetsByRule TagResource UntagResource ListTagsForResource",
    },
    "AWS::IAM::Role": {
        ROLES: "CreateRole GetRole UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy"
        " DeleteRole PutRolePolicy GetRolePolicy DeleteRolePolicy ListRolePolicies"
        " ListAttachedRolePolicies PutRolePermissionsBoundary DeleteRolePermissionsBoundary"
        " TagRole UntagRole PassRole",
    },
    "AWS::IAM::RolePolicy": {ROLES: "PutRolePolicy GetRolePolicy DeleteRolePolicy"},
    "AWS::Lambda::EventInvokeConfig": {
        FUNCTIONS: "PutFunctionEventInvokeConfig UpdateFunctionEventInvokeConfig"
        " DeleteFunctionEventInvokeConfig GetFunctionEventInvokeConfig",
    },
    "AWS::Lambda::EventSourceMapping": {
        ANY: "CreateEventSourceMapping UpdateEventSourceMapping DeleteEventSourceMapping",
        "arn:aws:lambda:REGION:ACCOUNT:event-source-mapping:*": "GetEventSourceMapping TagResource"
        " UntagResource ListTags",
    },
    "AWS::Lambda::Function": {
        FUNCTIONS: "CreateFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration"
        " DeleteFunction PutFunctionConcurrency DeleteFunctionConcurrency"
        " PutFunctionRecursionConfig GetFunctionRecursionConfig GetRuntimeManagementConfig"
        " GetFunctionCodeSigningConfig TagResource UntagResource",
        f"{ARTIFACTS}/*": "s3:GetObject",
        ANY: "ec2:DescribeSecurityGroups ec2:DescribeSubnets ec2:DescribeVpcs"
        " ec2:DescribeNetworkInterfaces",
    },
    "AWS::Lambda::Permission": {FUNCTIONS: "AddPermission RemovePermission GetPolicy"},
    "AWS::Logs::LogGroup": {
        "arn:aws:logs:REGION:ACCOUNT:log-group:STACK-*": "CreateLogGroup DeleteLogGroup"
        " PutRetentionPolicy DeleteRetentionPolicy AssociateKmsKey DisassociateKmsKey TagResource"
        " UntagResource ListTagsForResource",
        ANY: "DescribeLogGroups",
    },
    "AWS::S3::Bucket": {
        BUCKETS: "CreateBucket ListBucket DeleteBucket PutBucketNotification"
        " PutBucketPublicAccessBlock PutBucketOwnershipControls PutEncryptionConfiguration"
        " PutLifecycleConfiguration PutBucketTagging TagResource UntagResource",
    },
    "AWS::S3::BucketPolicy": {BUCKETS: "GetBucketPolicy PutBucketPolicy DeleteBucketPolicy"},
    "AWS::SNS::Topic": {
        "arn:aws:sns:REGION:ACCOUNT:STACK-*": "CreateTopic GetTopicAttributes SetTopicAttributes"
        " DeleteTopic Subscribe ListSubscriptionsByTopic TagResource UntagResource"
        " ListTagsForResource",
        ANY: "Unsubscribe",
    },
    "AWS::SQS::Queue": {
        QUEUES: "CreateQueue GetQueueUrl GetQueueAttributes SetQueueAttributes DeleteQueue"
        " TagQueue UntagQueue ListQueueTags",
    },
    "AWS::SQS::QueuePolicy": {QUEUES: "SetQueueAttributes"},
    "AWS::Scheduler::Schedule": {
        "arn:aws:scheduler:REGION:ACCOUNT:schedule/default/STACK-*": "CreateSchedule GetSchedule"
        " UpdateSchedule DeleteSchedule",
    },
    "AWS::StepFunctions::StateMachine": {
        "arn:aws:states:REGION:ACCOUNT:stateMachine:STACK-*": "CreateStateMachine"
        " DescribeStateMachine UpdateStateMachine DeleteStateMachine TagResource UntagResource"
        " ListTagsForResource",
        f"{ARTIFACTS}/*": "s3:GetObject",
        ANY: "logs:CreateLogDelivery logs:GetLogDelivery logs:UpdateLogDelivery"
        " logs:DeleteLogDelivery logs:ListLogDeliveries logs:PutResourcePolicy"
        " logs:DescribeResourcePolicies logs:DescribeLogGroups",
    },
}
"""The actions with which CloudFormation creates, updates and deletes each kind of resource, by ARN.

Source: the handlers in CloudFormation's resource schemas, without what the template does not use
(such as layers, code signing, managed policies, replication of buckets, data protection of logs).
An action without a service is one of the kind's own service.
"""

PREFIXES = {"apigatewayv2": "apigateway", "stepfunctions": "states"}

SAM_DELETE = {
    f"{STACKS}/STACK/*": "DescribeStacks GetTemplate DescribeStackResource DeleteStack",
    f"{STACKS}/STACK-Monitoring-*/*": "GetTemplate DeleteStack",
    f"{STACKS}/STACK-*/*": "DescribeStacks",  # it looks for stacks that sam makes of others
    ARTIFACTS: "s3:ListBucket",
    f"{ARTIFACTS}/*": "s3:GetObject s3:DeleteObject",
}
"""What sam delete does. Source: aws-sam-cli 1.170, samcli.commands.delete."""


def refused(needs: dict[str, str], service: str) -> list[tuple[str, str]]:
    """Return the resources and actions that the deployer's policy does not allow."""
    return [
        (resource, action)
        for resource, actions in needs.items()
        for word in actions.split()
        for action in [word if ":" in word else f"{service}:{word}"]
        if not any(
            action in statement["Action"] and {resource, ANY} & {*_listed(statement["Resource"])}
            for statement in POLICY["Statement"]
        )
    ]


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


WITHOUT_RESOURCES = {
    "Templates",
    "Mapping",  # its condition names the function
    "LogDeliveries",
    "AlarmsState",
    "Unsubscribe",
    "Network",
}


def test_deployer_may_create_update_and_delete_every_resource() -> None:
    created = {
        resource.kind
        for stack in (Stack(**mode) for mode in MODES)
        for resource in (*stack.resources.values(), *stack.monitoring().resources.values())
    }

    assert created == NEEDS.keys()
    for kind, needs in NEEDS.items():
        service = kind.split("::")[1].lower()
        assert refused(needs, PREFIXES.get(service, service)) == []


def test_deployer_may_run_sam_delete() -> None:
    assert refused(SAM_DELETE, "cloudformation") == []


def test_deployer_has_no_wildcard_but_where_there_is_no_resource() -> None:
    for statement in POLICY["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]
        if statement["Resource"] == "*":
            assert statement["Sid"] in WITHOUT_RESOURCES


def test_deployer_passes_roles_to_the_services_of_the_stack_only() -> None:
    (passing,) = [s for s in POLICY["Statement"] if s["Action"] == ["iam:PassRole"]]
    trusted = {
        principal
        for mode in MODES
        for role in Stack(**mode).of_kind("AWS::IAM::Role").values()
        for statement in role.properties["AssumeRolePolicyDocument"]["Statement"]
        for principal in [statement["Principal"]["Service"]]
    }

    assert set(passing["Condition"]["StringEquals"]["iam:PassedToService"]) == trusted


def test_deployer_policy_fits_into_the_inline_policies_of_a_role() -> None:
    """They have at most 10,240 characters without white space."""
    assert len(json.dumps(POLICY, separators=(",", ":"))) < 10_240 - 1_000  # for real names


def test_names_to_replace_in_the_deployer_policy_are_described() -> None:
    """Buckets have names in lower case, also if the stack has not."""
    words = {w for s in POLICY["Statement"] for w in re.findall(r"[A-Z_]{5,}", str(s["Resource"]))}
    manual = (REPOSITORY / "docs" / "DEPLOY.md").read_text()

    assert "LOWER_CASE_STACK" in words
    assert [w for w in words if not re.search(rf"`{w.replace('PATHSTACK', 'PATH')}`", manual)] == []


def test_longest_name_of_a_stack_is_described() -> None:
    machines = Stack().of_kind("AWS::StepFunctions::StateMachine").values()
    longest = 80 - max(
        len(m.properties["StateMachineName"].removeprefix("stack")) for m in machines
    )

    assert f"at most {longest} characters" in (REPOSITORY / "docs" / "DEPLOY.md").read_text()
