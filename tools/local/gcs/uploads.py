"""The three ways to upload an object: media, multipart, resumable."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import urlencode

from tools.local.gcs import checksums, metadata
from tools.local.gcs.checksums import Checksum
from tools.local.gcs.errors import invalid, not_found
from tools.local.gcs.gzip_body import anything
from tools.local.gcs.messages import Request, Response, empty_response, resource_response
from tools.local.gcs.multipart import Related
from tools.local.gcs.preconditions import integer
from tools.local.gcs.service import Service
from tools.local.gcs.sessions import ContentRange, Session, UploadSpec, cancelled
from tools.local.gcs.spool import CHUNK_BYTES, Content
from tools.local.gcs.store import StoredObject


def insert(service: Service, request: Request, bucket: str) -> Response:
    """Serve POST /upload/…/o."""
    match request.query.get("uploadType"):
        case "media":
            return _media(service, request, bucket)
        case "multipart":
            return _multipart(service, request, bucket)
        case "resumable":
            return _start(service, request, bucket)
        case other:
            raise invalid(f"Invalid uploadType: {other}")


def _media(service: Service, request: Request, bucket: str) -> Response:
    service.begin(request, "objects.insert", bucket=bucket, name=_name(request, {}))
    resource = {"contentType": request.headers.get("Content-Type", "application/octet-stream")}
    return _store(service, request, resource, (), request.chunks())


def _multipart(service: Service, request: Request, bucket: str) -> Response:
    request.operation = "objects.insert"
    related = Related(request)
    name = _name(request, related.resource)
    service.begin(request, "objects.insert", bucket=bucket, name=name)
    resource = _with_content_type(related.resource, related.content_type)
    expected = checksums.of_resource(resource)
    return _store(service, request, resource, expected, related.chunks())


def _store(
    service: Service,
    request: Request,
    resource: Mapping[str, Any],
    expected: Iterable[Checksum],
    chunks: Iterator[bytes],
) -> Response:
    """Store an object whose bytes are all in this request; an incomplete one leaves nothing."""
    expected = chain(expected, checksums.of_headers(request.headers))
    spec = _spec(service, request, resource, expected)
    with service.store.spool() as spool:
        spool.fill(request.content(chunks))
        stored = _commit(service, spec, spool.content())
    return resource_response(request, stored)


def _start(service: Service, request: Request, bucket: str) -> Response:
    request.operation = "upload.start"
    described = request.json()
    name = _name(request, described)
    service.begin(request, "upload.start", bucket=bucket, name=name)
    resource = _with_content_type(described, request.headers.get("X-Upload-Content-Type"))
    spec = _spec(service, request, resource, checksums.of_resource(resource))
    session = Session(spec, service.store.spool())
    service.sessions[session.id] = session
    query = urlencode({"uploadType": "resumable", "name": name, "upload_id": session.id})
    location = f"{request.server_url}{request.path}?{query}"
    return empty_response(200, {"Location": location, "X-GUploader-UploadID": session.id})


def put(service: Service, request: Request, bucket: str) -> Response:
    """Serve PUT on a session: bytes, the last bytes, or a query of how many are persisted."""
    session = _session(service, request)
    length = None if request.is_gzip else request.body.length
    content_range = ContentRange.parse(request.headers.get("Content-Range"), length)
    request.selection = session.spec.selection
    finishes = session.is_finished_by(content_range)
    is_query = content_range.first is None
    operation = "upload.status" if is_query else "upload.put"
    if finishes or content_range.completes:
        operation = "upload.final"
    service.begin(request, operation, bucket=bucket, name=session.spec.name)
    if stored := session.result():
        return resource_response(request, stored)
    if not is_query:
        return _receive(service, request, session, content_range)
    if finishes:
        return _finish(service, request, session, session.persisted, b"")
    return _incomplete(session)


def _receive(
    service: Service, request: Request, session: Session, content_range: ContentRange
) -> Response:
    end, total = content_range.end, content_range.total
    session.check_total(total)
    with _content(service, request, content_range) as chunks:
        reached, tail = session.receive(chunks, content_range)
    if not content_range.completes or reached < (end or 0) or reached < (total or 0):
        return _incomplete(session)
    if total not in {None, reached} or reached < session.persisted:
        raise invalid(f"The upload has {session.persisted + len(tail)} bytes, not {total}.")
    session.check_total(reached)
    return _finish(service, request, session, reached - len(tail), tail)


@contextmanager
def _content(
    service: Service, request: Request, content_range: ContentRange
) -> Iterator[Iterator[bytes]]:
    """Open the object's bytes in a PUT. A compressed body is checked before any of it is kept."""
    first, end, length = content_range.first or 0, content_range.end, request.body.length
    if not request.is_gzip:
        if length is not None and end is not None and length > end - first:
            raise invalid("The body has more bytes than its Content-Range.")
        yield request.content()
        return
    if end is None or length is None:
        raise invalid("A compressed body needs a Content-Range with an end, and Content-Length.")
    trusts = request.fault and request.fault.trust_gzip
    chunks = anything(request.body.chunks(), end - first) if trusts else None
    spool = service.store.spool(md5=False)
    try:
        for chunk in request.content(chunks):
            spool.append(chunk)
            if spool.size > end - first:
                break
        if spool.size != end - first:
            raise invalid("The body does not decompress to the bytes of its Content-Range.")
        with spool.path.open("rb") as file:
            yield iter(partial(file.read, CHUNK_BYTES), b"")
    finally:
        spool.discard()


def _finish(service: Service, request: Request, session: Session, at: int, tail: bytes) -> Response:
    expected = tuple(checksums.of_headers(request.headers))
    spec = session.spec
    if request.fault and request.fault.trust_gzip:
        spec, expected = replace(spec, checksums=()), ()
    stored = session.finish(at, tail, lambda content: _commit(service, spec, content, expected))
    return resource_response(request, stored)


def cancel(service: Service, request: Request, bucket: str) -> Response:
    """Serve DELETE on a session."""
    session = _session(service, request)
    service.begin(request, "upload.cancel", bucket=bucket, name=session.spec.name)
    session.cancel()
    raise cancelled()


def _session(service: Service, request: Request) -> Session:
    session = service.sessions.get(request.query.get("upload_id", ""))
    if session is None:
        raise not_found("No such upload session.")
    return session


def _incomplete(session: Session) -> Response:
    headers = {"X-GUploader-UploadID": session.id}
    if session.persisted:
        headers["Range"] = f"bytes=0-{session.persisted - 1}"
    return empty_response(308, headers)


def _name(request: Request, resource: Mapping[str, Any]) -> str:
    name = request.query.get("name") or resource.get("name") or ""
    if not isinstance(name, str):
        raise invalid("Invalid object name.")
    return metadata.check_name(name)


def _with_content_type(resource: Mapping[str, Any], content_type: str | None) -> dict[str, Any]:
    """Return the resource with the upload's content type; refuse a type that contradicts it."""
    stated = resource.get("contentType", content_type)
    if content_type not in {None, stated}:
        raise invalid(
            f"Content-Type specified in the upload ({content_type}) does not match Content-Type "
            f"specified in metadata ({stated})."
        )
    return {**resource, "contentType": stated}


def _spec(
    service: Service,
    request: Request,
    resource: Mapping[str, Any],
    expected: Iterable[Checksum],
) -> UploadSpec:
    """Return what the request asks for; refuse what can be refused before the bytes arrive."""
    bucket, name = request.bucket or "", request.name or ""
    service.store.bucket(bucket)
    given = {key: request.query.get(key) for key in ("contentEncoding", "kmsKeyName")}
    fields = {**resource, **{key: value for key, value in given.items() if value is not None}}
    return UploadSpec(
        bucket=bucket,
        name=name,
        fields=metadata.created(fields),
        preconditions=request.preconditions,
        checksums=tuple(expected),
        size=integer(request.headers, "X-Upload-Content-Length"),
        selection=request.selection,
    )


def _commit(
    service: Service, spec: UploadSpec, content: Content, more: tuple[Checksum, ...] = ()
) -> StoredObject:
    checksums.check(content, (*spec.checksums, *more))
    return service.store.commit(spec.bucket, spec.name, content, spec.fields, spec.preconditions)
