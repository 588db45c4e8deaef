"""The three ways to upload an object: media, multipart, resumable."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import urlencode

from tools.local.gcs import checksums, metadata
from tools.local.gcs.checksums import Promise
from tools.local.gcs.errors import invalid
from tools.local.gcs.exchange import Request, Response, resource_response, utf8_header
from tools.local.gcs.multipart import Related
from tools.local.gcs.preconditions import Preconditions, integer
from tools.local.gcs.service import Service
from tools.local.gcs.sessions import ContentRange, Intent, Session, cancelled
from tools.local.gcs.spool import Content
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
    name = _name(request, {})
    service.begin(request, "objects.insert", bucket=bucket, name=name)
    resource = {"contentType": request.headers.get("content-type", "application/octet-stream")}
    promises = chain(
        checksums.promised_by_headers(request.headers),
        checksums.promised_by_content_md5(request.headers),
    )
    intent = _intent(service, request, resource, promises)
    return _whole(service, request, intent, request.body.pieces())


def _multipart(service: Service, request: Request, bucket: str) -> Response:
    request.operation = "objects.insert"
    related = Related(request.headers.get("content-type", ""), request.body)
    name = _name(request, related.resource)
    service.begin(request, "objects.insert", bucket=bucket, name=name)
    resource = _with_content_type(related.resource, related.content_type)
    promises = chain(
        checksums.promised_by_resource(resource),
        checksums.promised_by_headers(request.headers),
    )
    intent = _intent(service, request, resource, promises)
    return _whole(service, request, intent, related.pieces())


def _whole(service: Service, request: Request, intent: Intent, pieces: Iterator[bytes]) -> Response:
    """Store an object whose bytes are all in this request; a broken one leaves nothing."""
    spool = service.store.spool()
    try:
        spool.fill(request.object_bytes(pieces))
        stored = _commit(service, intent, spool.content())
    except BaseException:
        spool.discard()
        raise
    return resource_response(request, stored.resource(request.base_url))


def _start(service: Service, request: Request, bucket: str) -> Response:
    request.operation = "upload.start"
    described = request.json()
    name = _name(request, described)
    service.begin(request, "upload.start", bucket=bucket, name=name)
    content_type = request.headers.get("x-upload-content-type")
    resource = _with_content_type(described, content_type and utf8_header(content_type))
    promises = checksums.promised_by_resource(resource)
    intent = _intent(service, request, resource, promises)
    session = service.sessions.open(intent, service.store.spool())
    query = urlencode({"uploadType": "resumable", "name": name, "upload_id": session.id})
    location = f"{request.base_url}{request.path}?{query}"
    return Response(headers={"Location": location, "X-GUploader-UploadID": session.id})


def put(service: Service, request: Request, bucket: str) -> Response:
    """Serve PUT on a session: bytes, the last bytes, or the question how many there are."""
    session = _session(service, request)
    content_range = ContentRange.parse(request.headers.get("content-range"), request.body.length)
    request.selection = session.intent.selection
    operation = _put_operation(session, content_range)
    service.begin(request, operation, bucket=bucket, name=session.intent.name)
    if stored := session.result():
        return resource_response(request, stored.resource(request.base_url))
    if content_range.first is None:
        return _status(service, request, session, content_range)
    return _receive(service, request, session, content_range)


def _put_operation(session: Session, content_range: ContentRange) -> str:
    if content_range.completes or _asks_to_finish(session, content_range):
        return "upload.final"
    return "upload.status" if content_range.first is None else "upload.put"


def _asks_to_finish(session: Session, content_range: ContentRange) -> bool:
    """Say whether `bytes */N` names the very size that is persisted."""
    return (
        content_range.first is None and content_range.total == session.persisted and session.is_open
    )


def _status(
    service: Service, request: Request, session: Session, content_range: ContentRange
) -> Response:
    if _asks_to_finish(session, content_range):
        return _finish(service, request, session, session.persisted, b"")
    return _incomplete(session)


def _receive(
    service: Service, request: Request, session: Session, content_range: ContentRange
) -> Response:
    first, end, total = content_range.first or 0, content_range.end, content_range.total
    session.check_total(total)
    length = request.body.length
    if length is not None and end is not None and length > end - first:
        raise invalid("The body has more bytes than its Content-Range.")
    reached, tail = session.receive(request.object_bytes(), content_range)
    if not content_range.completes or reached < (end or 0) or reached < (total or 0):
        return _incomplete(session)
    if total not in {None, reached} or reached < session.persisted:
        raise invalid(f"The upload has {session.persisted + len(tail)} bytes, not {total}.")
    session.check_total(reached)
    return _finish(service, request, session, reached - len(tail), tail)


def _finish(service: Service, request: Request, session: Session, at: int, tail: bytes) -> Response:
    promises = tuple(checksums.promised_by_headers(request.headers))

    def commit(content: Content) -> StoredObject:
        return _commit(service, session.intent, content, promises)

    stored = session.finish(at, tail, commit)
    return resource_response(request, stored.resource(request.base_url))


def cancel(service: Service, request: Request, bucket: str) -> Response:
    """Serve DELETE on a session."""
    session = _session(service, request)
    service.begin(request, "upload.cancel", bucket=bucket, name=session.intent.name)
    session.cancel()
    raise cancelled()


def _session(service: Service, request: Request) -> Session:
    return service.sessions.get(request.query.get("upload_id", ""))


def _incomplete(session: Session) -> Response:
    headers = {"X-GUploader-UploadID": session.id}
    if session.persisted:
        headers["Range"] = f"bytes=0-{session.persisted - 1}"
    return Response(status=308, headers=headers)


def _name(request: Request, resource: Mapping[str, Any]) -> str:
    name = request.query.get("name") or resource.get("name") or ""
    if not isinstance(name, str):
        raise invalid("Invalid object name.")
    return metadata.check_name(name)


def _with_content_type(resource: Mapping[str, Any], content_type: str | None) -> dict[str, Any]:
    """Return the resource with the upload's content type; refuse a type that contradicts it."""
    stated = resource.get("contentType")
    if stated is None:
        return {**resource, "contentType": content_type}
    if content_type not in {None, stated}:
        raise invalid(
            f"Content-Type specified in the upload ({content_type}) does not match Content-Type "
            f"specified in metadata ({stated})."
        )
    return dict(resource)


def _intent(
    service: Service,
    request: Request,
    resource: Mapping[str, Any],
    promises: Iterable[Promise],
) -> Intent:
    """Refuse early what needs no bytes to be refused."""
    bucket, name = request.bucket or "", request.name or ""
    service.store.bucket(bucket)
    query: dict[str, str] = {
        key: request.query[key] for key in ("contentEncoding", "kmsKeyName") if key in request.query
    }
    return Intent(
        bucket=bucket,
        name=name,
        fields=metadata.created({**resource, **query}),
        preconditions=Preconditions.parse(request.query),
        promises=tuple(promises),
        size=integer(request.headers, "x-upload-content-length"),
        selection=request.selection,
    )


def _commit(
    service: Service, intent: Intent, content: Content, promises: tuple[Promise, ...] = ()
) -> StoredObject:
    for promise in (*intent.promises, *promises):
        promise.check(content)
    return service.store.commit(
        intent.bucket,
        intent.name,
        content=content,
        fields=intent.fields,
        preconditions=intent.preconditions,
    )
