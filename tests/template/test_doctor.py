"""What the doctor expects from outside is what the template creates, in every delivery mode."""

import json

import pytest
from template.stack import BUCKET, MODES, REQUIRED, Stack, notifications

from tools.operate.checks import QUEUES
from tools.operate.expected import differences, wanted_events, wanted_filter, wanted_pattern
from tools.operate.policies import allows

OUTPUTS = {
    *QUEUES,
    "FunctionArn",
    "SourceBucketName",
    "StateMachineArn",
    "AlarmTopicArn",
    "FunctionLogGroupName",
}


SUFFIX = [
    {"Delivery": "direct", "SourceBucketKind": kind, "SourceSuffix": ".jpg"}
    for kind in ("new", "existing")
]


@pytest.mark.parametrize("parameters", [*MODES, *SUFFIX])
def test_the_doctor_expects_what_the_template_creates(parameters: dict[str, str]) -> None:
    stack = Stack(**parameters)
    assert stack.outputs.keys() >= OUTPUTS

    is_new = parameters["SourceBucketKind"] == "new"
    if is_new:
        assert {each["Event"] for each in notifications(stack)} == wanted_events(parameters)
        for each in notifications(stack):
            rules = each.get("Filter", {"S3Key": {"Rules": []}})["S3Key"]["Rules"]
            assert {rule["Name"]: rule["Value"] for rule in rules} == wanted_filter(parameters)
    else:
        pattern = stack.properties("BucketRule")["EventPattern"]
        assert differences(pattern, wanted_pattern(REQUIRED["SourceBucketName"], parameters)) == []

    sender = (
        ("s3.amazonaws.com", BUCKET) if is_new else ("events.amazonaws.com", "${BucketRule.Arn}")
    )
    needed = {"EventQueue"} if parameters["Delivery"] == "queue" else set()
    needed |= set() if is_new else {"FailureQueue"}
    for queue in needed:
        policy = json.dumps(stack.properties(f"{queue}Policy")["PolicyDocument"])
        assert allows(policy, sender[0], "sqs:SendMessage", sender[1])
        assert not allows(policy, sender[0], "sqs:SendMessage", "arn:aws:s3:::another")

    invoke = stack.properties("AsyncInvocations")
    destination = invoke["DestinationConfig"]["OnFailure"]["Destination"]
    assert destination in {stack.outputs[name] for name in QUEUES}
    retention = [
        stack.properties(n)["MessageRetentionPeriod"] for n in ("EventQueue", "FailureQueue")
    ]
    assert retention[0] <= retention[1]
