"""What the doctor expects from outside is what the template creates, in every delivery mode."""

import json

import pytest
from template.stack import BUCKET, MODES, Stack, notifications

from tools.operate.checks import QUEUES, wanted_events
from tools.operate.policies import allows

OUTPUTS = {
    *QUEUES,
    "FunctionArn",
    "SourceBucketName",
    "StateMachineArn",
    "AlarmTopicArn",
}


@pytest.mark.parametrize("parameters", MODES)
def test_the_doctor_expects_what_the_template_creates(parameters: dict[str, str]) -> None:
    stack = Stack(**parameters)
    assert stack.outputs.keys() >= OUTPUTS

    is_new = parameters["SourceBucketKind"] == "new"
    if is_new:
        assert {each["Event"] for each in notifications(stack)} == wanted_events(parameters)

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
