"""The template under made-up parameters, in every mode; and how to ask for parts of it."""

from collections.abc import Iterator
from typing import Any

from tools.local import template

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gcp-AbCdEf"
REQUIRED = {
    "GcsBucketName": "replica",
    "GcpCredentialsSecretArn": SECRET,
    "SourceBucketName": "my-source-bucket",
}
FUNCTION = "${ReplicateFunction.Arn}"

KEY = "arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:on-call"

_NOTHING: dict[str, str] = {"SnapStartVersion": "", "Tracing": "PassThrough"}
_EVERYTHING = {
    "SnapStartVersion": "v1",
    "Tracing": "Active",
    "SourcePrefix": "photos/",
    "ReplicateDeletes": "true",
    "ReplicateLifecycleDeletes": "true",
    "ReplicateTags": "contexts",
    "ApiAuthorization": "NONE",
    "SecretKmsKeyArn": KEY,
    "SourceKmsKeyArn": KEY,
    "QueueKmsKeyArn": KEY,
    "VpcSubnetIds": "subnet-01234567,subnet-89abcdef",
    "VpcSecurityGroupIds": "sg-01234567",
    "AlarmTopicArn": TOPIC,
    "AlarmEmail": "on-call@example.com",
}
MODES: list[dict[str, str]] = [
    {"Delivery": delivery, "SourceBucketKind": kind, **options}
    for delivery in ("direct", "queue")
    for kind in ("new", "existing")
    for options in (_NOTHING, {**_NOTHING, "ReplicateDeletes": "true"}, _EVERYTHING)
]
"""Every way to receive events, with nothing switched on, with deletes, and with everything."""


class Stack(template.Stack):
    """With made-up values for the parameters that have no default."""

    def __init__(self, **parameters: str | float) -> None:
        super().__init__(**{**REQUIRED, **parameters})


def equals(parameter: str, value: str) -> dict[str, Any]:
    """How the template compares a parameter."""
    return {"Fn::Equals": [{"Ref": parameter}, value]}


def statements(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]


def rights(stack: Stack) -> dict[str, set[str]]:
    """What the function may do, by resource."""
    allowed: dict[str, set[str]] = {}
    for statement in statements(stack.properties("FunctionRole")["Policies"]):
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        allowed.setdefault(statement["Resource"], set()).update(
            [actions] if isinstance(actions, str) else actions
        )
    return allowed


def notifications(stack: Stack) -> list[dict[str, Any]]:
    """What the bucket of this stack notifies, if there is one: of one kind only."""
    if "SourceBucket" not in stack.resources:
        return []
    configuration = stack.properties("SourceBucket")["NotificationConfiguration"]
    (found,) = configuration.values()
    return list(found)


def texts(value: object) -> Iterator[str]:
    """Every text inside a value."""
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from texts(item)
        case list():
            for item in value:
                yield from texts(item)
