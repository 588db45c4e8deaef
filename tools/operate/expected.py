"""What the template asks of the source bucket and of EventBridge, by the stack's parameters.

tests/template compares it with the template.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Pattern = Mapping[str, Any]
"""An event pattern of EventBridge."""


def wanted_events(parameters: Mapping[str, str]) -> set[str]:
    """Return the events that a new bucket sends."""
    return {
        "s3:ObjectCreated:*",
        "s3:ObjectRemoved:*",
        "s3:ObjectRestore:Completed",
        *(["s3:LifecycleExpiration:*"] if _replicates_lifecycle(parameters) else []),
        *(["s3:ObjectTagging:*"] if _replicates_tags(parameters) else []),
    }


def wanted_filter(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the filter of keys in a new bucket's notifications: `prefix`, `suffix`, or neither."""
    found = {name: parameters.get(f"Source{name.title()}", "") for name in ("prefix", "suffix")}
    return {name: value for name, value in found.items() if value}


def wanted_pattern(bucket: str, parameters: Mapping[str, str]) -> Pattern:
    """Return the pattern of the rule for an existing bucket."""
    tags = ["Object Tags Added", "Object Tags Deleted"] if _replicates_tags(parameters) else []
    detail: dict[str, Any] = {"bucket": {"name": [bucket]}}
    if keys := wanted_filter(parameters):
        wildcard = f"{keys.get('prefix', '')}*{keys.get('suffix', '')}"
        detail["object"] = {"key": [{"wildcard": wildcard}]}
    if not _replicates_lifecycle(parameters):
        detail["reason"] = [{"exists": False}, {"anything-but": "Lifecycle Expiration"}]
    kinds = ["Object Created", "Object Restore Completed", "Object Deleted", *tags]
    return {"source": ["aws.s3"], "detail-type": kinds, "detail": detail}


def differences(found: Pattern, wanted: Pattern) -> list[str]:
    """Describe each field in which a pattern differs from another."""
    has, needs = dict(_fields(found)), dict(_fields(wanted))
    return [
        f"{name} is {_shown(has.get(name))} instead of {_shown(needs.get(name))}"
        for name in sorted(has.keys() | needs.keys())
        if has.get(name) != needs.get(name)
    ]


def _fields(pattern: Pattern, path: str = "") -> Iterator[tuple[str, set[str]]]:
    """Yield the path of each field, and the alternatives that it accepts."""
    for name, value in pattern.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", {json.dumps(each, sort_keys=True) for each in value}


def _shown(alternatives: set[str] | None) -> str:
    return ", ".join(sorted(alternatives)) if alternatives else "anything"


def _replicates_lifecycle(parameters: Mapping[str, str]) -> bool:
    return parameters.get("ReplicateDeletes") == "with-lifecycle"


def _replicates_tags(parameters: Mapping[str, str]) -> bool:
    return parameters.get("ReplicateTags", "off") != "off"
