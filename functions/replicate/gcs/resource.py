"""Convert attributes to GCS's object resource, and the resource to a `Replica`.

Source: "Objects" in the reference of GCS's JSON API.
"""

from datetime import UTC

from google.cloud.storage import Blob
from google.cloud.storage.blob import ObjectContexts, ObjectCustomContextPayload

from replicate.gcs.errors import MALFORMED, malformed
from replicate.protocol.model import Attributes, Replica


def describe(blob: Blob, attributes: Attributes, storage_class: str | None) -> None:
    """Set the attributes of a new object. Without a storage class it gets the bucket's default."""
    for name, value in _texts(attributes).items():
        if value is not None:
            setattr(blob, name, value)
    if attributes.custom_time is not None:
        blob.custom_time = attributes.custom_time.astimezone(UTC)
    blob.metadata = dict(attributes.metadata)
    if attributes.contexts:
        blob.contexts = ObjectContexts(blob, custom=_contexts(attributes))
    if storage_class is not None:
        blob.storage_class = storage_class


def change(blob: Blob, attributes: Attributes, current: Attributes) -> None:
    """Set the fields of a patch that turns `current` into `attributes`. None removes a field."""
    for name, value in _texts(attributes).items():
        setattr(blob, name, value)
    time = attributes.custom_time
    blob.custom_time = time and time.astimezone(UTC)
    removed = dict.fromkeys(current.metadata.keys() - attributes.metadata.keys())
    blob.metadata = {**removed, **attributes.metadata}
    if attributes.contexts or current.contexts:
        removed_contexts = dict.fromkeys(current.contexts.keys() - attributes.contexts.keys())
        contexts = ObjectContexts(blob)
        contexts.custom = {**removed_contexts, **_contexts(attributes)}
        blob.contexts = contexts


def replica(blob: Blob) -> Replica:
    """Convert an object resource. Raise DestinationUnavailableError if it is malformed."""
    try:
        return Replica(
            name=blob.name,
            generation=int(blob.generation),
            metageneration=int(blob.metageneration),
            size=int(blob.size),
            attributes=Attributes(
                content_type=blob.content_type,
                cache_control=blob.cache_control,
                content_disposition=blob.content_disposition,
                content_encoding=blob.content_encoding,
                content_language=blob.content_language,
                custom_time=blob.custom_time,
                metadata=blob.metadata or {},
                contexts={name: found.value for name, found in blob.contexts.custom.items()},
            ),
            crc32c=_required(blob.crc32c),
            md5=blob.md5_hash,
        )
    except MALFORMED as error:
        raise malformed(error) from error


def _required(value: str | None) -> str:
    if not value:
        raise LookupError("no crc32c")
    return value


def _texts(attributes: Attributes) -> dict[str, str | None]:
    return {
        "content_type": attributes.content_type,
        "cache_control": attributes.cache_control,
        "content_disposition": attributes.content_disposition,
        "content_encoding": attributes.content_encoding,
        "content_language": attributes.content_language,
    }


def _contexts(attributes: Attributes) -> dict[str, ObjectCustomContextPayload]:
    return {name: ObjectCustomContextPayload(text) for name, text in attributes.contexts.items()}
