"""What CloudFormation would make of template.yaml: SAM's translator, then conditions and functions.

What only AWS can know, such as a resource's ARN, stays a text of the form `${LogicalId.Attribute}`.
"""

# SAM's package has type hints only in part.
# mypy: allow-untyped-calls

import copy
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from tools.local.aws import ACCOUNT, REGION
from tools.local.runtime import REPOSITORY

TEMPLATE = REPOSITORY / "template.yaml"
MONITORING = REPOSITORY / "monitoring.yaml"

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::StackName": "stack",
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/stack/1a2b3c4d",
    "AWS::URLSuffix": "amazonaws.com",
}

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
    """Resources and outputs of a template; all parameters without a default must be given."""

    def __init__(self, path: Path = TEMPLATE, /, **parameters: str | float) -> None:
        self._document = _transformed(path, tuple(sorted(parameters.items())))
        defaults = {n: p.get("Default") for n, p in self._document["Parameters"].items()}
        values: dict[str, Any] = {**PSEUDO, **defaults, **parameters}
        for name, parameter in self._document["Parameters"].items():
            if parameter["Type"] == "CommaDelimitedList":
                values[name] = values[name].split(",")
        self._values: Mapping[str, Any] = values
        self.resources = {
            name: _resource(self._resolve(described))
            for name, described in self._document["Resources"].items()
            if self._is_wanted(described)
        }
        self.outputs = {
            name: self._resolve(output)["Value"]
            for name, output in self._document["Outputs"].items()
            if self._is_wanted(output)
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
            case "Split", [separator, text]:
                return text.split(separator)
            case "Select", [index, values]:
                return values[int(index)]
            case "FindInMap", [mapping, first, second]:
                return self._document["Mappings"][mapping][str(first)][second]
        raise NotImplementedError(function)

    def _substituted(self, text: str, variables: Mapping[str, Any]) -> str:
        return _VARIABLE.sub(lambda m: str(variables.get(m[1]) or self._call("Ref", m[1])), text)


def document(path: Path = TEMPLATE) -> dict[str, Any]:
    """Return the template as it is written: a copy, because the translator changes its argument."""
    return copy.deepcopy(_parsed(path))


def parameters() -> dict[str, dict[str, Any]]:
    """Return the template's parameters as they are written."""
    return dict(document()["Parameters"])


@functools.cache
def _parsed(path: Path) -> dict[str, Any]:
    return dict(yaml_parse(path.read_text()))


@functools.cache
def _transformed(path: Path, values: tuple[tuple[str, str | float], ...]) -> dict[str, Any]:
    template = document(path)
    for resource in template["Resources"].values():  # `sam deploy` uploads what is named by a path
        for local in {"CodeUri", "DefinitionUri"} & resource.get("Properties", {}).keys():
            resource["Properties"][local] = f"s3://artifacts/{local}"
    # It asks the session for a region; and IAM for AWS's managed policies, of which there are none.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    return dict(translator.translate(template, {**PSEUDO, **dict(values)}))


def _resource(described: Mapping[str, Any]) -> Resource:
    rest = {k: v for k, v in described.items() if k not in {"Type", "Properties"}}
    return Resource(described["Type"], described.get("Properties", {}), rest)
