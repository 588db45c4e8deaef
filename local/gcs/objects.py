"""Every operation on objects and buckets that is not an upload."""

import base64
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

from local.gcs import metadata
from local.gcs.errors import ApiError, invalid, not_found
from local.gcs.exchange import FileSlice, Request, Response, json_response
from local.gcs.preconditions import Preconditions, integer
from local.gcs.service import Service
from local.gcs.spool import PIECE_BYTES
from local.gcs.store import Bucket, StoredObject

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_MAX_SOURCES = 32
_MAX_RESULTS = 1000


def get(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Return the resource, or with `alt=media` the bytes."""
    generation = integer(request.query, "generation")
    preconditions = Preconditions.parse(request.query)
    if request.query.get("alt") != "media":
        stored = service.store.get(bucket, name, generation=generation, preconditions=preconditions)
        return json_response(stored.resource(request.base_url), headers={"ETag": stored.etag})
    stored, file = service.store.open(
        bucket, name, generation=generation, preconditions=preconditions
    )
    try:
        return _media(request, stored, file)
    except BaseException:
        file.close()
        raise


def _media(request: Request, stored: StoredObject, file: BinaryIO) -> Response:
    headers = _media_headers(stored)
    if _is_transcoded(request, stored):
        headers["Warning"] = '214 UploadServer "gunzipped"'
        return Response(headers=headers, body=_gunzipped(file))
    if encoding := stored.fields.get("contentEncoding"):
        headers["Content-Encoding"] = encoding
    headers["Accept-Ranges"] = "bytes"
    size = stored.content.size
    span = _span(request.headers.get("range"), size)
    if span is None:
        return Response(headers=headers, body=FileSlice(file, 0, size))
    first, end = span
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    return Response(status=206, headers=headers, body=FileSlice(file, first, end - first))


def _media_headers(stored: StoredObject) -> dict[str, str]:
    fields = stored.fields
    optional = {
        "Content-Disposition": fields.get("contentDisposition"),
        "Content-Language": fields.get("contentLanguage"),
        "Cache-Control": fields.get("cacheControl"),
    }
    return {
        "Content-Type": fields.get("contentType", "application/octet-stream"),
        "ETag": stored.etag,
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Hash": stored.content.goog_hash(),
        "X-Goog-Storage-Class": fields["storageClass"],
        "X-Goog-Stored-Content-Encoding": fields.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": str(stored.content.size),
        **{key: value for key, value in optional.items() if value},
    }


def _is_transcoded(request: Request, stored: StoredObject) -> bool:
    """Say whether the client gets gzip data decompressed."""
    return (
        stored.fields.get("contentEncoding") == "gzip"
        and "gzip" not in request.headers.get("accept-encoding", "").lower()
        and "no-transform" not in stored.fields.get("cacheControl", "").lower()
    )


def _gunzipped(file: BinaryIO) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    with file:
        while piece := file.read(PIECE_BYTES):
            yield decompressor.decompress(piece)
        yield decompressor.flush()


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the end of a Range; a header of another kind is ignored."""
    match = _RANGE.fullmatch(header or "")
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first:
        begin, end = int(first), min(int(last) + 1 if last else size, size)
    else:
        begin, end = max(size - int(last), 0), size
    if begin >= end:
        raise ApiError(
            416,
            "requestedRangeNotSatisfiable",
            "Request range not satisfiable",
            {"Content-Range": f"bytes */{size}"},
        )
    return begin, end


def patch(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Change the fields that are named."""
    changes = request.json()
    stored = service.store.change(
        bucket,
        name,
        generation=integer(request.query, "generation"),
        preconditions=Preconditions.parse(request.query),
        edit=lambda fields: metadata.patched(fields, changes),
    )
    return json_response(stored.resource(request.base_url))


def update(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Replace all fields."""
    resource = request.json()
    stored = service.store.change(
        bucket,
        name,
        generation=integer(request.query, "generation"),
        preconditions=Preconditions.parse(request.query),
        edit=lambda fields: metadata.replaced(fields, resource),
    )
    return json_response(stored.resource(request.base_url))


def delete(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Delete the live object."""
    service.store.delete(
        bucket,
        name,
        generation=integer(request.query, "generation"),
        preconditions=Preconditions.parse(request.query),
    )
    return Response(status=204)


def compose(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Concatenate 1 to 32 objects of one bucket; the result has no MD5."""
    metadata.check_name(name)
    body = request.json()
    sources = body.get("sourceObjects") or []
    if not 1 <= len(sources) <= _MAX_SOURCES:
        raise invalid(f"The number of source components must be 1 to {_MAX_SOURCES}.")
    query = {"kmsKeyName": request.query["kmsKeyName"]} if "kmsKeyName" in request.query else {}
    spool = service.store.spool(md5=False)
    try:
        components = 0
        for source in sources:
            stored, file = _open_source(service, bucket, source)
            components += stored.content.components or 1
            with file:
                spool.fill(iter(partial(file.read, PIECE_BYTES), b""))
        composed = service.store.commit(
            bucket,
            name,
            content=spool.content(components=components),
            fields=metadata.created({**body.get("destination", {}), **query}),
            preconditions=Preconditions.parse(request.query),
        )
    except BaseException:
        spool.discard()
        raise
    return json_response(composed.resource(request.base_url))


def _open_source(
    service: Service, bucket: str, source: Mapping[str, Any]
) -> tuple[StoredObject, BinaryIO]:
    conditions = source.get("objectPreconditions", {})
    values = {
        key: str(value)
        for key, value in {**conditions, "generation": source.get("generation")}.items()
        if value is not None
    }
    return service.store.open(
        bucket,
        str(source.get("name")),
        generation=integer(values, "generation"),
        preconditions=Preconditions.parse(values),
    )


def rewrite(
    service: Service, request: Request, *, bucket: str, name: str, to_bucket: str, to_name: str
) -> Response:
    """Copy an object in a single step."""
    stored = _copied(service, request, (bucket, name), (to_bucket, to_name))
    size = str(stored.content.size)
    return json_response(
        {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": size,
            "objectSize": size,
            "done": True,
            "resource": stored.resource(request.base_url),
        }
    )


def copy(
    service: Service, request: Request, *, bucket: str, name: str, to_bucket: str, to_name: str
) -> Response:
    """Copy an object."""
    stored = _copied(service, request, (bucket, name), (to_bucket, to_name))
    return json_response(stored.resource(request.base_url))


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


@dataclass(frozen=True, slots=True)
class _Listed:
    """One line of a listing: an object, or a prefix that stands for many."""

    name: str
    stored: StoredObject | None


def list_(service: Service, request: Request, bucket: str) -> Response:
    """List a bucket's objects in name order, a page at a time."""
    lines = _lines(service.store.objects(bucket), request.query)
    limit = integer(request.query, "maxResults") or _MAX_RESULTS
    page = lines[: min(limit, _MAX_RESULTS)]
    payload: dict[str, Any] = {"kind": "storage#objects"}
    if items := [line.stored.resource(request.base_url) for line in page if line.stored]:
        payload["items"] = items
    if prefixes := [line.name for line in page if not line.stored]:
        payload["prefixes"] = prefixes
    if len(page) < len(lines):
        payload["nextPageToken"] = base64.urlsafe_b64encode(page[-1].name.encode()).decode()
    return json_response(payload)


def _lines(objects: list[StoredObject], query: Mapping[str, str]) -> list[_Listed]:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = _page_start(query.get("pageToken"))
    lines: dict[str, _Listed] = {}
    for stored in objects:
        name = stored.name
        if not name.startswith(prefix) or not _in_offsets(name, query):
            continue
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        line = _Listed(name, stored) if cut < 0 else _Listed(name[: cut + len(delimiter)], None)
        if after is None or line.name > after:
            lines.setdefault(line.name, line)
    return list(lines.values())


def _in_offsets(name: str, query: Mapping[str, str]) -> bool:
    end = query.get("endOffset")
    return name >= query.get("startOffset", "") and (not end or name < end)


def _page_start(token: str | None) -> str | None:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode() if token else None
    except ValueError as error:
        raise invalid("Invalid pageToken.") from error


def create_bucket(service: Service, request: Request) -> Response:
    """Create a bucket."""
    body = request.json()
    if not body.get("name"):
        raise ApiError(400, "required", "Required parameter: name")
    storage_class = body.get("storageClass", "STANDARD")
    if storage_class not in metadata.STORAGE_CLASSES:
        raise invalid(f"Invalid storage class: {storage_class}")
    bucket = Bucket(name=body["name"], storage_class=storage_class)
    if location := body.get("location"):
        bucket = replace(bucket, location=location.upper())
    service.store.create_bucket(bucket)
    return json_response(bucket.resource(request.base_url))


def list_buckets(service: Service, request: Request) -> Response:
    """List all buckets."""
    items = [bucket.resource(request.base_url) for bucket in service.store.buckets()]
    return json_response({"kind": "storage#buckets", "items": items})


def get_bucket(service: Service, request: Request, bucket: str) -> Response:
    """Return a bucket's resource."""
    return json_response(service.store.bucket(bucket).resource(request.base_url))


def delete_bucket(service: Service, request: Request, bucket: str) -> Response:  # noqa: ARG001
    """Delete an empty bucket."""
    service.store.delete_bucket(bucket)
    return Response(status=204)


def test_iam_permissions(service: Service, request: Request, bucket: str) -> Response:
    """Grant everything that is asked for: 403 is a matter of faults."""
    service.store.bucket(bucket)
    permissions = request.queries.get("permissions", [])
    if not permissions:
        raise not_found("No permissions asked for.")
    return json_response({"kind": "storage#testIamPermissionsResponse", "permissions": permissions})
