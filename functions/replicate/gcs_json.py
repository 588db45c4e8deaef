"""GCS's object resource, to and from our own words. Source: the JSON API's reference, "Objects"."""

import json
from datetime import UTC, datetime
from typing import Any

from replicate.connections import BrokenConnectionError, Response
from replicate.objects import Attributes, Replica

FIELDS = (
    "name,generation,metageneration,size,crc32c,md5Hash,contentType,cacheControl,"
    "contentDisposition,contentEncoding,contentLanguage,customTime,metadata,contexts"
)
"""What of a resource is read; asking for no more keeps answers short."""

_TEXTS = {
    "content_type": "contentType",
    "cache_control": "cacheControl",
    "content_disposition": "contentDisposition",
    "content_encoding": "contentEncoding",
    "content_language": "contentLanguage",
}


def replica(response: Response) -> Replica:
    """Read an answer that is an object resource. Raises BrokenConnectionError."""
    try:
        return _read(json.loads(response.read()), response.headers.get("X-GUploader-UploadID"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BrokenConnectionError(f"the answer cannot be understood: {error!r}") from error


def _read(found: dict[str, Any], request_id: str | None) -> Replica:
    custom_time = found.get("customTime")
    return Replica(
        name=found["name"],
        generation=int(found["generation"]),
        metageneration=int(found["metageneration"]),
        size=int(found["size"]),
        attributes=Attributes(
            **{ours: found.get(theirs) for ours, theirs in _TEXTS.items()},
            custom_time=datetime.fromisoformat(custom_time) if custom_time else None,
            metadata=found.get("metadata", {}),
            contexts={
                name: context["value"]
                for name, context in found.get("contexts", {}).get("custom", {}).items()
            },
        ),
        crc32c=found["crc32c"],
        md5=found.get("md5Hash"),
        request_id=request_id,
    )


def resource(name: str, attributes: Attributes, storage_class: str | None) -> dict[str, Any]:
    """The resource of a new object; the bucket's default storage class when none is given."""
    stated = {
        "name": name,
        **_stated(attributes),
        "metadata": dict(attributes.metadata),
        "contexts": _contexts(attributes) if attributes.contexts else None,
        "storageClass": storage_class,
    }
    return {field: value for field, value in stated.items() if value is not None}


def patch(attributes: Attributes, current: Attributes) -> dict[str, Any]:
    """What turns `current` into `attributes`: null takes a value away."""
    gone = dict.fromkeys(current.metadata.keys() - attributes.metadata.keys())
    changes = {**_stated(attributes), "metadata": {**gone, **attributes.metadata}}
    if attributes.contexts or current.contexts:
        gone = dict.fromkeys(current.contexts.keys() - attributes.contexts.keys())
        changes["contexts"] = {"custom": {**gone, **_contexts(attributes)["custom"]}}
    return changes


def _contexts(attributes: Attributes) -> dict[str, Any]:
    return {"custom": {name: {"value": value} for name, value in attributes.contexts.items()}}


def _stated(attributes: Attributes) -> dict[str, Any]:
    texts = {theirs: getattr(attributes, ours) for ours, theirs in _TEXTS.items()}
    time = attributes.custom_time
    return {**texts, "customTime": time and time.astimezone(UTC).isoformat().replace("+00:00", "Z")}
