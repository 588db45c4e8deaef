"""What CloudFormation would make of template.yaml: SAM's translator, then conditions and functions.

What only AWS can know, such as a resource's ARN, stays a text of the form `${LogicalId.Attribute}`.
"""

# SAM's package has type hints only in part.
# mypy: allow-untyped-calls

import copy
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gcp-AbCdEf"
REQUIRED = {
    "GcsBucketName": "replica",
    "GcpCredentialsSecretArn": SECRET,
    "SourceBucketName": "my-source-bucket",
}
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "stack",
}

FUNCTION = "${ReplicateFunction.Arn}"
ALIAS = "arn:aws:lambda:eu-central-1:123456789012:function:${ReplicateFunction}:live"

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

_NO_VALUE = object()
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as it is created."""

    kind: str
    properties: dict[str, Any]
    attributes: dict[str, Any]
    """All beside the properties: DeletionPolicy, Metadata, …"""


class Stack:
    """Resources and outputs of the template under some parameters."""

    def __init__(self, **parameters: str | float) -> None:
        self._document = _transformed(tuple(sorted({**REQUIRED, **parameters}.items())))
        defaults = {n: p.get("Default") for n, p in self._document["Parameters"].items()}
        values: dict[str, Any] = {**PSEUDO, **defaults, **REQUIRED, **parameters}
        for name, parameter in self._document["Parameters"].items():
            if parameter["Type"] == "CommaDelimitedList":
                values[name] = values[name].split(",")
        values["LiveAlias"] = ALIAS  # the one ARN that the template takes apart
        self._values: Mapping[str, Any] = values
        self.resources = {
            name: _resource(self._resolve(described))
            for name, described in self._document["Resources"].items()
            if self._is_wanted(described)
        }
        self.outputs = {
            name: self._resolve(output)["Value"]
            for name, output in self._document["Outputs"].items()
        }

    def of_kind(self, kind: str) -> dict[str, Resource]:
        return {name: r for name, r in self.resources.items() if r.kind == kind}

    def properties(self, name: str) -> dict[str, Any]:
        return self.resources[name].properties

    def _is_wanted(self, described: Mapping[str, Any]) -> bool:
        return "Condition" not in described or self._condition(described["Condition"])

    def _condition(self, name: str) -> bool:
        return bool(self._resolve(self._document["Conditions"][name]))

    def _resolve(self, value: Any) -> Any:  # noqa: ANN401 - any part of a template
        if isinstance(value, list):
            return [v for v in map(self._resolve, value) if v is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in {"Ref", "Condition"} or name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        resolved = {k: self._resolve(v) for k, v in value.items()}
        return {k: v for k, v in resolved.items() if v is not _NO_VALUE}

    def _call(self, function: str, argument: Any) -> Any:  # noqa: ANN401, C901, PLR0911, PLR0912 - a table
        match function, argument:
            case "If", [condition, yes, no]:
                return self._resolve(yes if self._condition(condition) else no)
            case "Ref", "AWS::NoValue":
                return _NO_VALUE
            case "Ref", str(name):
                return self._values.get(name, f"${{{name}}}")
            case "GetAtt", [name, attribute]:
                return f"${{{name}.{attribute}}}"
            case "Condition", str(name):
                return self._condition(name)
            case "Sub", str(text):
                return self._substituted(text, {})
            case "Sub", [text, variables]:
                return self._substituted(text, self._resolve(variables))
        match function, self._resolve(argument):
            case "Equals", [left, right]:
                return str(left) == str(right)
            case "Not", [value]:
                return not value
            case "Or", values:
                return any(values)
            case "And", values:
                return all(values)
            case "Join", [separator, values]:
                return separator.join(values)
            case "FindInMap", [mapping, first, second]:
                return self._document["Mappings"][mapping][str(first)][second]
            case "Split", [separator, text]:
                return text.split(separator)
            case "Select", [number, values]:
                return values[int(number)]
        raise NotImplementedError(function)

    def _substituted(self, text: str, variables: Mapping[str, Any]) -> str:
        return _VARIABLE.sub(lambda m: str(variables.get(m[1]) or self._call("Ref", m[1])), text)


def document() -> dict[str, Any]:
    """The template as it is written; a copy, as the translator changes what it is given."""
    return copy.deepcopy(_parsed())


def parameters() -> dict[str, dict[str, Any]]:
    """The template's parameters as they are written."""
    return dict(document()["Parameters"])


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


@functools.cache
def _parsed() -> dict[str, Any]:
    return dict(yaml_parse(TEMPLATE.read_text()))


@functools.cache
def _transformed(values: tuple[tuple[str, str | float], ...]) -> dict[str, Any]:
    template = document()
    template["Resources"]["ReplicateFunction"]["Properties"]["CodeUri"] = "s3://artifacts/function"
    return dict(transform(template, {**PSEUDO, **dict(values)}, _NoManagedPolicies()))


class _NoManagedPolicies(ManagedPolicyLoader):
    """The translator asks IAM for the names of AWS's managed policies; the template uses none."""

    def __init__(self) -> None:
        """Without a client."""

    def load(self) -> dict[str, str]:
        return {}


def _resource(described: Mapping[str, Any]) -> Resource:
    rest = {k: v for k, v in described.items() if k not in {"Type", "Properties"}}
    return Resource(described["Type"], described.get("Properties", {}), rest)
