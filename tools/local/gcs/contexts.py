"""Object contexts: key-value pairs in a resource's `contexts.custom`, with GCS's limits.

Source: the documentation, "Use object contexts". GCS refuses a pair that breaks a rule.
The limit of 25 KiB in all needs no check of its own: 50 pairs of 256 and 256 bytes are 25 KiB.
"""

from collections.abc import Mapping
from typing import Any

from tools.local.gcs.errors import invalid

MAX_CONTEXTS = 50
MAX_TEXT_BYTES = 256

_FORBIDDEN = frozenset("'\"\\/")
_RESERVED_PREFIX = "goog"


def check(custom: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse contexts that break a rule, by naming the rule."""
    if len(custom) > MAX_CONTEXTS:
        raise invalid(f"An object has at most {MAX_CONTEXTS} contexts, not {len(custom)}.")
    for key, context in custom.items():
        if key.startswith(_RESERVED_PREFIX):
            raise invalid(f"The context key {key!r} must not begin with {_RESERVED_PREFIX!r}.")
        _check_text("key", key)
        _check_text("value", context["value"])


def _check_text(kind: str, text: str) -> None:
    size = len(text.encode())
    if not 1 <= size <= MAX_TEXT_BYTES:
        raise invalid(
            f"The context {kind} {text!r} has {size} bytes; it must have 1 to {MAX_TEXT_BYTES}."
        )
    if not text[0].isalnum():
        raise invalid(f"The context {kind} {text!r} must begin with an alphanumeric character.")
    if found := _FORBIDDEN.intersection(text):
        raise invalid(f"The context {kind} {text!r} must not contain {min(found)!r}.")
