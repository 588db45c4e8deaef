"""What a policy of a queue, function or key lets an AWS service do, as far as its text says."""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any


def allows(policy: str, service: str, action: str, source: str) -> bool:
    """Return whether a statement lets a service act on behalf of a source, such as a bucket's ARN.

    Conditions other than the source's ARN are taken to hold, and statements that deny are not read.
    """
    return any(
        statement.get("Effect") == "Allow"
        and any(fnmatchcase(service, each) for each in _services(statement.get("Principal")))
        and any(fnmatchcase(action.lower(), each.lower()) for each in _texts(statement["Action"]))
        and all(
            any(fnmatchcase(source, each) for each in sources) for sources in _sources(statement)
        )
        for statement in _statements(policy)
    )


def _statements(policy: str) -> list[Mapping[str, Any]]:
    found = json.loads(policy or "{}").get("Statement", [])
    return found if isinstance(found, list) else [found]


def _services(principal: object) -> list[str]:
    if isinstance(principal, Mapping):
        return _texts(principal.get("Service", [])) + (
            ["*"] if "*" in _texts(principal.get("AWS", [])) else []
        )
    return _texts(principal or [])


def _sources(statement: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the ARNs that each condition on the source's ARN accepts."""
    for operator, conditions in statement.get("Condition", {}).items():
        for key, values in conditions.items():
            if key.lower() == "aws:sourcearn" and "Not" not in operator:
                yield _texts(values)


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
