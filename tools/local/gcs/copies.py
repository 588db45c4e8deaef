"""Objects made of other objects: compose and rewrite."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from tools.local.gcs import metadata
from tools.local.gcs.errors import ApiError, invalid
from tools.local.gcs.faults import Fault
from tools.local.gcs.messages import Request, Response, json_response, resource_response
from tools.local.gcs.preconditions import Preconditions
from tools.local.gcs.service import Service
from tools.local.gcs.spool import CHUNK_BYTES, Content, Spool
from tools.local.gcs.store import StoredObject

_MAX_COMPONENTS = 32


def compose(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Concatenate 1 to 32 objects of one bucket and class; the result has that class and no MD5.

    With `deleteSourceObjects` the sources are deleted in the same step, past soft delete.
    """
    metadata.check_name(name)
    body = request.json()
    sources = _sources(body)
    key = {"kmsKeyName": request.query.get("kmsKeyName")}
    fields = metadata.created({**(body.get("destination") or {}), **key})
    fault = request.fault or Fault()
    with service.store.spool(md5=False) as spool:
        content, joined = _concatenated(service, bucket, sources, spool)
        fields["storageClass"] = _common_class(joined, fields, fault)
        consumed = joined if body.get("deleteSourceObjects") else []
        is_deferred = fault.keep_sources or fault.delete_sources_after is not None
        try:
            composed = service.store.commit(
                bucket,
                name,
                content,
                fields,
                request.preconditions,
                consumed=[] if is_deferred else consumed,
            )
        except ApiError:
            if fault.delete_sources_anyway:
                service.store.consume(consumed)
            raise
    if fault.delete_sources_after is not None:
        service.store.consume_later(consumed, fault.delete_sources_after)
    return resource_response(request, composed)


def _common_class(joined: list[StoredObject], fields: metadata.Fields, fault: Fault) -> str:
    """Return the class of all sources. Source: the documentation, "Composite objects"."""
    classes = {str(stored.fields["storageClass"]) for stored in joined}
    if len(classes) > 1:
        raise invalid(f"The source objects have several storage classes: {sorted(classes)}.")
    (found,) = classes
    if fault.refuse_other_class and fields.get("storageClass", found) != found:
        raise invalid(f"The source objects have another storage class: {found}.")
    return found


def _sources(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    sources = body.get("sourceObjects") or []
    if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
        raise invalid("Invalid sourceObjects.")
    if not 1 <= len(sources) <= _MAX_COMPONENTS:
        raise invalid(f"The number of source components must be 1 to {_MAX_COMPONENTS}.")
    return sources


def _concatenated(
    service: Service, bucket: str, sources: list[dict[str, Any]], spool: Spool
) -> tuple[Content, list[StoredObject]]:
    """Return the bytes of all sources in one file, and the sources."""
    components, joined = 0, []
    for source in sources:
        conditions = source.get("objectPreconditions") or {}
        stated = {**conditions, "generation": source.get("generation")}
        values = {key: str(value) for key, value in stated.items() if value is not None}
        name = source.get("name", "")
        stored, file = service.store.open(bucket, name, Preconditions.parse(values))
        components += stored.content.components or 1
        joined.append(stored)
        with file:
            spool.fill(iter(partial(file.read, CHUNK_BYTES), b""))
    return spool.content(components=components), joined


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
