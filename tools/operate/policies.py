"""What a policy of a queue, function or key lets an AWS service do, as far as its text says."""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

ONLY_TLS = {"Bool": {"aws:SecureTransport": "false"}}
"""The condition of a statement that denies plain HTTP, which no service of AWS sends."""

SOURCES = {"aws:sourcearn", "kms:encryptioncontext:aws:logs:arn"}
"""The keys of conditions on the source; the second is CloudWatch Logs' for a log group."""


def allows(policy: str, service: str, action: str, source: str) -> bool:
    """Return whether a statement lets a service act on behalf of a source, such as a bucket's ARN.

    Conditions other than the source's ARN are taken to hold, and statements that deny are not read:
    see `denials`.
    """
    return any(
        statement.get("Effect") == "Allow" and _fits(statement, service, action, source, [])
        for statement in _statements(policy)
    )


def denials(policy: str, service: str, action: str, source: str) -> list[str]:
    """Name the statements that may deny it. Whether they do depends on their conditions."""
    return [
        statement.get("Sid", "a statement without Sid")
        for statement in _statements(policy)
        if statement.get("Effect") == "Deny"
        and statement.get("Condition") != ONLY_TLS
        and _fits(statement, service, action, source, "*")
    ]


def _fits(
    statement: Mapping[str, Any], service: str, action: str, source: str, absent: object
) -> bool:
    """Return whether a statement is about this. `absent` stands for NotPrincipal and NotAction."""
    services = _services(statement.get("Principal", absent))
    actions = [each.lower() for each in _texts(statement.get("Action", absent))]
    return (
        any(fnmatchcase(service, each) for each in services)
        and any(fnmatchcase(action.lower(), each) for each in actions)
        and all(any(fnmatchcase(source, each) for each in arns) for arns in _sources(statement))
    )


def _statements(policy: str) -> list[Mapping[str, Any]]:
    found = json.loads(policy or "{}").get("Statement", [])
    return found if isinstance(found, list) else [found]


def _services(principal: object) -> list[str]:
    if isinstance(principal, Mapping):
        return _texts(principal.get("Service", [])) + (
            ["*"] if "*" in _texts(principal.get("AWS", [])) else []
        )
    return _texts(principal)


def _sources(statement: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the ARNs that each condition on the source's ARN accepts."""
    for operator, conditions in statement.get("Condition", {}).items():
        for key, values in conditions.items():
            if key.lower() in SOURCES and "Not" not in operator:
                yield _texts(values)


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
