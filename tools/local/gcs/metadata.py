"""An object's name and its fields: what GCS allows, and how a patch changes them.

Unknown and read-only fields in a request body are ignored, as GCS does. A patch that would change
the storage class is refused: that takes a rewrite.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from tools.local.gcs.errors import invalid

Fields: TypeAlias = Mapping[str, Any]

STORAGE_CLASSES = (
    *("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
    *("MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"),
)
MAX_CUSTOM_METADATA_BYTES = 8 * 1024
MAX_NAME_BYTES = 1024
MAX_CONTENT_LANGUAGE = 100
MAX_CONTEXTS = 50
MAX_CONTEXT_BYTES = 256
"""Of a key and of a value. GCS's limit of 25 KiB in all follows from these two."""

_FIELDS = (
    *("contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl"),
    *("storageClass", "kmsKeyName", "customTime", "metadata", "contexts"),
)


def check_name(name: str) -> str:
    """Return `name`, or refuse it: the rules of "About Cloud Storage objects"."""
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        raise invalid("The object name must be 1 to 1024 bytes long when UTF-8 encoded.")
    if (
        name in {".", ".."}
        or "\r" in name
        or "\n" in name
        or name.startswith(".well-known/acme-challenge/")
    ):
        raise invalid(f"Disallowed object name: {name!r}")
    return name


def rfc3339(moment: datetime) -> str:
    """Return the API's spelling of a moment: UTC, and milliseconds where they suffice."""
    precision = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
    milliseconds = moment.microsecond // 1000  # GCS keeps no more
    return (
        moment.astimezone(UTC)
        .replace(microsecond=1000 * milliseconds)
        .isoformat(timespec=precision)[:-6]
        + "Z"
    )


def now() -> datetime:
    """Return the current time, in the milliseconds the API shows."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def created(resource: Fields) -> dict[str, Any]:
    """Return the fields that a new object gets from the resource sent with it."""
    return _patched({}, {key: resource[key] for key in _FIELDS if resource.get(key) is not None})


def patched(current: Fields, changes: Fields) -> dict[str, Any]:
    """Return the fields after a patch: absent keeps, null removes."""
    _refuse_fixed(current, changes)
    return _patched(current, changes)


def _refuse_fixed(current: Fields, changes: Fields) -> None:
    before = current.get("customTime")
    if before and "customTime" in changes:
        after = changes["customTime"]
        if after is None or _moment(after) < _moment(before):
            raise invalid("customTime cannot be removed or moved to an earlier time.")
    if changes.get("storageClass", current["storageClass"]) != current["storageClass"]:
        raise invalid("The storage class of an object can only be changed by a rewrite.")


def _patched(current: Fields, changes: Fields) -> dict[str, Any]:
    fields = dict(current)
    for key in _FIELDS:
        if key in changes:
            value = _merged(key, current.get(key), changes[key])
            fields[key] = value
            if value is None:
                del fields[key]
    return fields


def _merged(key: str, before: Any, change: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return one field's new value, None where it ends up empty."""
    if change is None:
        return None
    if key == "metadata":
        return _custom_metadata({**(before or {}), **_object(key, change)})
    if key == "contexts":
        return _contexts(before, _object(key, change))
    if not isinstance(change, str):
        raise invalid(f"Invalid value for field {key}: a string is expected.")
    if key == "customTime":
        return rfc3339(_moment(change))
    if key == "contentLanguage" and len(change) > MAX_CONTENT_LANGUAGE:
        raise invalid(
            f"contentLanguage has {len(change)} characters; the limit is {MAX_CONTENT_LANGUAGE}."
        )
    if key == "storageClass" and change not in STORAGE_CLASSES:
        raise invalid(f"Invalid storage class: {change}")
    return change or None


def _object(key: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    if not isinstance(value, dict):
        raise invalid(f"Invalid value for field {key}: an object is expected.")
    return value


def _custom_metadata(merged: Fields) -> dict[str, str] | None:
    kept = {key: value for key, value in merged.items() if value is not None}
    if not all(isinstance(value, str) for value in kept.values()):
        raise invalid("Custom metadata values must be strings.")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in kept.items())
    if size > MAX_CUSTOM_METADATA_BYTES:
        raise invalid(f"The total size of custom metadata is {size} bytes; the limit is 8 KiB.")
    return kept or None


def _contexts(before: Fields | None, change: Fields) -> dict[str, Any] | None:
    """Merge object contexts: a null key is removed, `custom: null` removes all of them."""
    if change.get("custom") is None:
        return None if "custom" in change else dict(before or {}) or None
    custom = dict((before or {}).get("custom", {}))
    for key, payload in _object("contexts.custom", change["custom"]).items():
        previous = custom.pop(key, None)
        if payload is not None:
            custom[key] = _context(previous, _object(f"contexts.custom.{key}", payload))
    _check_contexts(custom)
    return {"custom": custom} if custom else None


def _context(previous: Fields | None, payload: Fields) -> dict[str, str]:
    value = payload.get("value")
    if not isinstance(value, str):
        raise invalid("The value of a context must be a string.")
    moment = rfc3339(now())
    created_at = previous["createTime"] if previous else moment
    return {"value": value, "createTime": created_at, "updateTime": moment}


def _check_contexts(custom: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse contexts that break a rule. Source: the documentation, "Use object contexts"."""
    if len(custom) > MAX_CONTEXTS:
        raise invalid(f"An object has at most {MAX_CONTEXTS} contexts, not {len(custom)}.")
    for key, context in custom.items():
        if key.startswith("goog"):
            raise invalid(f"The context key {key!r} must not begin with 'goog'.")
        for kind, text in (("key", key), ("value", context["value"])):
            what, size = f"The context {kind} {text!r}", len(text.encode())
            if not 1 <= size <= MAX_CONTEXT_BYTES:
                raise invalid(f"{what} has {size} bytes; it must have 1 to {MAX_CONTEXT_BYTES}.")
            if not text[0].isalnum():
                raise invalid(f"{what} must begin with an alphanumeric character.")
            if found := set("'\"\\/").intersection(text):
                raise invalid(f"{what} must not contain {min(found)!r}.")


def _moment(text: Any) -> datetime:  # noqa: ANN401 - JSON values
    """Parse RFC 3339, which wants a zone and a full date and time."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise invalid(f"Invalid value for customTime: {text!r} is not RFC 3339.") from error
    if moment.utcoffset() is None or text[10:11] not in {"T", "t"}:
        raise invalid(f"Invalid value for customTime: {text!r} is not RFC 3339.")
    milliseconds = moment.microsecond // 1000  # GCS keeps no more
    return moment.astimezone(UTC).replace(microsecond=1000 * milliseconds)
