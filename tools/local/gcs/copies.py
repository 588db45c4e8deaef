"""Objects made of other objects: compose and rewrite."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from tools.local.gcs import metadata
from tools.local.gcs.errors import ApiError, invalid
from tools.local.gcs.messages import Request, Response, json_response, resource_response
from tools.local.gcs.preconditions import Preconditions
from tools.local.gcs.service import Service
from tools.local.gcs.spool import CHUNK_BYTES, Content, Spool

_MAX_SOURCES = 32


def compose(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Concatenate 1 to 32 objects of one bucket; the result has no MD5."""
    metadata.check_name(name)
    body = request.json()
    sources = _sources(body)
    key = {"kmsKeyName": request.query.get("kmsKeyName")}
    fields = metadata.created({**(body.get("destination") or {}), **key})
    with service.store.spool(md5=False) as spool:
        content = _concatenated(service, bucket, sources, spool)
        composed = service.store.commit(bucket, name, content, fields, request.preconditions)
    if body.get("deleteSourceObjects") is True:
        _delete(service, bucket, [source for source in sources if source["name"] != name])
    return resource_response(request, composed)


def _delete(service: Service, bucket: str, sources: list[dict[str, Any]]) -> None:
    """Delete the sources of a compose that has succeeded. Others may have deleted them already."""
    for source in sources:
        generation = source.get("generation")
        pinned = Preconditions(generation=None if generation is None else int(generation))
        with suppress(ApiError):
            service.store.delete(bucket, source["name"], pinned)


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
        conditions = source.get("objectPreconditions") or {}
        stated = {**conditions, "generation": source.get("generation")}
        values = {key: str(value) for key, value in stated.items() if value is not None}
        name = source.get("name", "")
        stored, file = service.store.open(bucket, name, Preconditions.parse(values))
        components += stored.content.components or 1
        with file:
            spool.fill(iter(partial(file.read, CHUNK_BYTES), b""))
    return spool.content(components=components)


def rewrite(
    service: Service, request: Request, *, bucket: str, name: str, to_bucket: str, to_name: str
) -> Response:
    """Copy an object in one step; metadata in the request replaces the source's, as a whole."""
    metadata.check_name(to_name)
    resource = request.json()
    source = service.store.get(bucket, name, Preconditions.parse(request.query, of="Source"))
    kept = {key: value for key, value in source.fields.items() if key != "storageClass"}
    fields = metadata.created(resource) if resource else kept
    if key_name := request.query.get("destinationKmsKeyName"):
        fields["kmsKeyName"] = key_name
    with service.store.spool(md5=False) as spool:
        content = service.store.share(source, spool)
        stored = service.store.commit(to_bucket, to_name, content, fields, request.preconditions)
    size = str(stored.content.size)
    payload = {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": size,
        "objectSize": size,
        "done": True,
        "resource": stored.resource(request.server_url),
    }
    return json_response(request.selected(payload))
