"""Objects made of other objects: compose, rewrite, copy."""

from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

from tools.local.gcs import metadata
from tools.local.gcs.errors import invalid
from tools.local.gcs.exchange import Request, Response, resource_response
from tools.local.gcs.preconditions import Preconditions, integer
from tools.local.gcs.service import Service
from tools.local.gcs.spool import PIECE_BYTES, Content, Spool
from tools.local.gcs.store import StoredObject

_MAX_SOURCES = 32


def compose(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Concatenate 1 to 32 objects of one bucket; the result has no MD5."""
    metadata.check_name(name)
    body = request.json()
    sources = _sources(body)
    query = {"kmsKeyName": request.query["kmsKeyName"]} if "kmsKeyName" in request.query else {}
    spool = service.store.spool(md5=False)
    try:
        composed = service.store.commit(
            bucket,
            name,
            content=_concatenated(service, bucket, sources, spool),
            fields=metadata.created({**(body.get("destination") or {}), **query}),
            preconditions=Preconditions.parse(request.query),
        )
    except BaseException:
        spool.discard()
        raise
    return resource_response(request, composed.resource(request.base_url))


def _sources(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    sources = body.get("sourceObjects") or []
    if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
        raise invalid("Invalid sourceObjects.")
    if not 1 <= len(sources) <= _MAX_SOURCES:
        raise invalid(f"The number of source components must be 1 to {_MAX_SOURCES}.")
    return sources


def _concatenated(
    service: Service, bucket: str, sources: list[dict[str, Any]], spool: Spool
) -> Content:
    components = 0
    for source in sources:
        stored, file = _open_source(service, bucket, source)
        components += stored.content.components or 1
        with file:
            spool.fill(iter(partial(file.read, PIECE_BYTES), b""))
    return spool.content(components=components)


def _open_source(
    service: Service, bucket: str, source: Mapping[str, Any]
) -> tuple[StoredObject, BinaryIO]:
    conditions = source.get("objectPreconditions") or {}
    values = {
        key: str(value)
        for key, value in {**conditions, "generation": source.get("generation")}.items()
        if value is not None
    }
    return service.store.open(
        bucket,
        source.get("name", ""),
        generation=integer(values, "generation"),
        preconditions=Preconditions.parse(values),
    )


def rewrite(
    service: Service, request: Request, *, bucket: str, name: str, to_bucket: str, to_name: str
) -> Response:
    """Copy an object in a single step."""
    stored = _copied(service, request, (bucket, name), (to_bucket, to_name))
    size = str(stored.content.size)
    return resource_response(
        request,
        {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": size,
            "objectSize": size,
            "done": True,
            "resource": stored.resource(request.base_url),
        },
    )


def copy(
    service: Service, request: Request, *, bucket: str, name: str, to_bucket: str, to_name: str
) -> Response:
    """Copy an object."""
    stored = _copied(service, request, (bucket, name), (to_bucket, to_name))
    return resource_response(request, stored.resource(request.base_url))


def _copied(
    service: Service, request: Request, source: tuple[str, str], destination: tuple[str, str]
) -> StoredObject:
    """Copy; metadata in the request replaces the source's, as a whole."""
    metadata.check_name(destination[1])
    resource = request.json()
    stored = service.store.get(
        *source,
        generation=integer(request.query, "sourceGeneration"),
        preconditions=Preconditions.parse(request.query, of="Source"),
    )
    kept = {key: value for key, value in stored.fields.items() if key != "storageClass"}
    fields = metadata.created(resource) if resource else kept
    if key_name := request.query.get("destinationKmsKeyName"):
        fields["kmsKeyName"] = key_name
    content = service.store.share(stored)
    try:
        return service.store.commit(
            *destination,
            content=content,
            fields=fields,
            preconditions=Preconditions.parse(request.query),
        )
    except BaseException:
        content.path.unlink()
        raise
