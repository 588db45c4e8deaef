"""Operations on objects and on a bucket."""

import base64
from collections.abc import Mapping
from typing import Any

from tools.local.gcs import media, metadata
from tools.local.gcs.errors import ApiError, invalid
from tools.local.gcs.messages import (
    Request,
    Response,
    empty_response,
    json_response,
    resource_response,
)
from tools.local.gcs.preconditions import integer
from tools.local.gcs.service import Service
from tools.local.gcs.store import StoredObject

_MAX_RESULTS = 1000


def get(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Return the resource, or with `alt=media` the bytes."""
    if request.query.get("alt") == "media":
        return media.response(request, *service.store.open(bucket, name, request.preconditions))
    stored = service.store.get(bucket, name, request.preconditions)
    return resource_response(request, stored, headers={"ETag": stored.etag})


def patch(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Change the fields that are named."""
    changes = request.json()
    stored = service.store.change(
        bucket, name, request.preconditions, lambda fields: metadata.patched(fields, changes)
    )
    return resource_response(request, stored)


def delete(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Delete the live object."""
    service.store.delete(bucket, name, request.preconditions)
    return empty_response()


def list_(service: Service, request: Request, bucket: str) -> Response:
    """List a bucket's objects in name order, a page at a time."""
    entries = _entries(service.store.objects(bucket), request.query)
    page = entries[: min(integer(request.query, "maxResults") or _MAX_RESULTS, _MAX_RESULTS)]
    payload: dict[str, Any] = {"kind": "storage#objects"}
    if items := [stored.resource(request.server_url) for _, stored in page if stored]:
        payload["items"] = items
    if prefixes := [name for name, stored in page if not stored]:
        payload["prefixes"] = prefixes
    if len(page) < len(entries):
        payload["nextPageToken"] = base64.urlsafe_b64encode(page[-1][0].encode()).decode()
    return json_response(request.selected(payload))


def get_bucket(service: Service, request: Request, bucket: str) -> Response:
    """Return a bucket's resource."""
    return resource_response(request, service.store.bucket(bucket))


def test_permissions(service: Service, request: Request, bucket: str) -> Response:
    """Return which of the permissions asked for are granted; no list where there are none.

    A denied permission has no other effect: a fault can refuse the operations that need it.
    """
    service.store.bucket(bucket)
    permissions = request.args.getlist("permissions")
    if not permissions:
        raise ApiError(400, "required", "Required parameter: permissions")
    payload: dict[str, object] = {"kind": "storage#testIamPermissionsResponse"}
    if granted := [name for name in permissions if name not in service.denied_permissions]:
        payload["permissions"] = granted
    return json_response(request.selected(payload))


def _entries(
    objects: list[StoredObject], query: Mapping[str, str]
) -> list[tuple[str, StoredObject | None]]:
    """Return names with their objects, and prefixes with None for all objects below them."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, end = query.get("startOffset", ""), query.get("endOffset")
    after = _page_start(query.get("pageToken"))
    entries: dict[str, StoredObject | None] = {}
    for stored in objects:
        name = stored.name
        if not name.startswith(prefix) or name < start or (end and name >= end):
            continue
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        entry = name if cut < 0 else name[: cut + len(delimiter)]
        if after is None or entry > after:
            entries.setdefault(entry, stored if cut < 0 else None)
    return list(entries.items())


def _page_start(token: str | None) -> str | None:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode() if token else None
    except ValueError as error:
        raise invalid("Invalid pageToken.") from error
