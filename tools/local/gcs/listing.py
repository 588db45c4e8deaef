"""Listing a bucket: prefixes, delimiters, offsets, pages."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.local.gcs.errors import invalid
from tools.local.gcs.exchange import Request, Response, resource_response
from tools.local.gcs.preconditions import integer
from tools.local.gcs.service import Service
from tools.local.gcs.store import StoredObject

_MAX_RESULTS = 1000


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
    return resource_response(request, payload)


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
