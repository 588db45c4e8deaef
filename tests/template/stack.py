"""The resolved template in every delivery mode, and the parts of it that the tests ask about."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.local import template

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gcp-AbCdEf"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
REQUIRED = {
    "GcsBucketName": "replica",
    "GcpCredentialsSecretArn": SECRET,
    "SourceBucketName": "my-source-bucket",
}

FUNCTION = "${ReplicateFunction.Arn}"
EVENT_QUEUE = "${EventQueue.Arn}"
FAILURE_QUEUE = "${FailureQueue.Arn}"
MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:stack-large-objects"
RECONCILE_MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:stack-reconcile"
EXECUTIONS = "arn:aws:states:eu-central-1:123456789012:execution:stack-large-objects:*"
BUCKET = "arn:aws:s3:::my-source-bucket"

_ALL_OPTIONS = {
    "SourcePrefix": "photos/",
    "ReplicateDeletes": "with-lifecycle",
    "ReplicateTags": "contexts",
    "ApiAuthorization": "NONE",
    "KmsKeyArn": KEY,
    "DecryptKmsKeyArns": KEY,
    "VpcSubnetIds": "subnet-01234567,subnet-89abcdef",
    "VpcSecurityGroupIds": "sg-01234567",
    "AlarmEmail": "on-call@example.com",
}
MODES: list[dict[str, str]] = [
    {"Delivery": delivery, "SourceBucketKind": kind, **options}
    for delivery in ("direct", "queue")
    for kind in ("new", "existing")
    for options in ({}, {"ReplicateDeletes": "true"}, _ALL_OPTIONS)
]
"""Each way to receive events, with the defaults, with deletions and with all options."""


class Stack(template.Stack):
    """The main template, with made-up values for the parameters that have no default."""

    def __init__(self, **parameters: str | float) -> None:
        super().__init__(**{**REQUIRED, **parameters})

    def monitoring(self) -> template.Stack:
        """Return the nested stack, with the parameters that this one passes to it."""
        nested = self.properties("Monitoring")
        assert nested["TemplateURL"] == template.MONITORING.name
        return template.Stack(template.MONITORING, **nested["Parameters"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A right that a resource policy gives to an AWS service."""

    service: str
    action: str
    resource: str
    source: str
    """The only ARN for which the service may act."""
    account: str | None = None


def grants(stack: template.Stack) -> set[Grant]:
    """Return what AWS services may do: all Lambda permissions and queue policies."""
    return {*_permissions(stack), *_queue_policies(stack)}


def rights(stack: template.Stack, role: str = "FunctionRole") -> dict[str, set[str]]:
    """Return the actions that a role allows, by resource."""
    allowed: dict[str, set[str]] = {}
    for statement in statements(stack, role):
        assert statement["Effect"] == "Allow"
        for resource in _as_list(statement["Resource"]):
            allowed.setdefault(resource, set()).update(_as_list(statement["Action"]))
    return allowed


def statements(stack: template.Stack, name: str) -> list[dict[str, Any]]:
    """Return the statements of a policy, or of all policies of a role."""
    properties = stack.properties(name)
    policies = properties.get("Policies", [properties])
    return [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]


def variables(stack: template.Stack) -> dict[str, str]:
    """Return the function's environment variables."""
    found: dict[str, str] = stack.properties("ReplicateFunction")["Environment"]["Variables"]
    return found


def notifications(stack: template.Stack) -> list[dict[str, Any]]:
    """Return what the bucket of this stack notifies: nothing if there is no such bucket."""
    if "SourceBucket" not in stack.resources:
        return []
    configuration = stack.properties("SourceBucket")["NotificationConfiguration"]
    (found,) = configuration.values()
    return list(found)


def texts(value: object) -> Iterator[str]:
    """Yield every text inside a value, except the keys of mappings."""
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from texts(item)
        case list():
            for item in value:
                yield from texts(item)


def _permissions(stack: template.Stack) -> Iterator[Grant]:
    for resource in stack.of_kind("AWS::Lambda::Permission").values():
        permission = resource.properties
        assert permission["FunctionName"] == "${ReplicateFunction}"
        yield Grant(
            service=permission["Principal"],
            action=permission["Action"],
            resource=FUNCTION,
            source=permission["SourceArn"],
            account=permission.get("SourceAccount"),
        )


def _queue_policies(stack: template.Stack) -> Iterator[Grant]:
    for name in stack.of_kind("AWS::SQS::QueuePolicy"):
        queues = stack.properties(name)["Queues"]
        for statement in statements(stack, name):
            assert [f"{queue[:-1]}.Arn}}" for queue in queues] == [statement["Resource"]]
            condition = statement["Condition"]
            if statement["Effect"] == "Deny":
                continue
            yield Grant(
                service=statement["Principal"]["Service"],
                action=statement["Action"],
                resource=statement["Resource"],
                source=condition["ArnEquals"]["aws:SourceArn"],
                account=condition.get("StringEquals", {}).get("aws:SourceAccount"),
            )


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
