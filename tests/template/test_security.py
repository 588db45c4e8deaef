"""What an organization may ask of a stack: owners, prefixes, boundaries, keys, no public API."""

from typing import Any

import pytest
from template.stack import BUCKET, KEY, MODES, REQUIRED, Stack, statements

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
def test_source_bucket_is_read_only_while_its_owner_is_the_same(account: str, owner: str) -> None:
    stack = Stack(SourceBucketAccount=account, ReplicateTags="contexts")

    found = source_statements(stack)

    assert len(found) == 3
    for statement in found:
        assert statement["Condition"] == {"StringEquals": {"aws:ResourceAccount": owner}}


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


def test_log_group_of_the_api_does_not_use_up_the_policy_of_the_account() -> None:
    assert Stack().properties("ApiLogGroup")["LogGroupName"] == "/aws/vendedlogs/apis/stack"


def test_secret_may_name_hosts_of_google_only_by_default() -> None:
    assert REQUIRED.keys().isdisjoint({"GoogleApiDomains"})
    assert document()["Parameters"]["GoogleApiDomains"]["Default"] == "googleapis.com"
