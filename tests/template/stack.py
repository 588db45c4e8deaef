"""What CloudFormation would make of template.yaml: SAM's translator, then conditions and functions.

What only AWS can know, such as a resource's ARN, stays a text of the form `${LogicalId.Attribute}`.
"""

# SAM's package has type hints only in part.
# mypy: allow-untyped-calls

import functools
import re
from collections.abc import Mapping
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

ALIAS = "arn:aws:lambda:eu-central-1:123456789012:function:${ReplicateFunction}:live"

_NO_VALUE = object()
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as it is created."""

    kind: str
    properties: dict[str, Any]
    attributes: dict[str, Any]
    """All beside the properties: DependsOn, DeletionPolicy, …"""


class Stack:
    """Resources and outputs of the template under some parameters."""

    def __init__(self, **parameters: str | float) -> None:
        self._document = _transformed(tuple(sorted({**REQUIRED, **parameters}.items())))
        defaults = {n: p.get("Default") for n, p in self._document["Parameters"].items()}
        self._values: Mapping[str, Any] = {
            **PSEUDO,
            **defaults,
            **REQUIRED,
            **parameters,
            "LiveAlias": ALIAS,  # the one ARN that the template takes apart
        }
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

    def _call(self, function: str, argument: Any) -> Any:  # noqa: ANN401, C901, PLR0911 - a table
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
                return _VARIABLE.sub(lambda m: str(self._call("Ref", m[1])), text)
        match function, self._resolve(argument):
            case "Equals", [left, right]:
                return str(left) == str(right)
            case "Not", [value]:
                return not value
            case "Or", values:
                return any(values)
            case "Split", [separator, text]:
                return text.split(separator)
            case "Select", [number, values]:
                return values[int(number)]
        raise NotImplementedError(function)


def parameters() -> dict[str, dict[str, Any]]:
    """The template's parameters as they are written."""
    return dict(yaml_parse(TEMPLATE.read_text())["Parameters"])


@functools.cache
def _transformed(values: tuple[tuple[str, str | float], ...]) -> dict[str, Any]:
    document = yaml_parse(TEMPLATE.read_text())
    document["Resources"]["ReplicateFunction"]["Properties"]["CodeUri"] = "s3://artifacts/function"
    return dict(transform(document, {**PSEUDO, **dict(values)}, _NoManagedPolicies()))


class _NoManagedPolicies(ManagedPolicyLoader):
    """The translator asks IAM for the names of AWS's managed policies; the template uses none."""

    def __init__(self) -> None:
        """Without a client."""

    def load(self) -> dict[str, str]:
        return {}


def _resource(described: Mapping[str, Any]) -> Resource:
    rest = {k: v for k, v in described.items() if k not in {"Type", "Properties", "Metadata"}}
    return Resource(described["Type"], described.get("Properties", {}), rest)
