"""Requests that change stored objects of GCS: compose, patch and delete; and staged objects."""

import base64
import json
from collections.abc import Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from awscrt import checksums

from tools.benchmarks.series import Series, crc32c, range_crc32c
from tools.benchmarks.servers.web import Request

Resource = dict[str, Any]

STAGING = ".s3-to-gcs-replicator/staging/"
"""The function's default for STAGING_PREFIX."""

_RANGE = "s3-staged-range"
"""Custom metadata of a staged object: its range of the source."""


class RefusedError(Exception):
    """GCS refuses a request with `status`."""

    def __init__(self, status: HTTPStatus, message: str = "") -> None:
        self.status = status
        super().__init__(message)


def is_expected(name: str, metadata: Mapping[str, str], size: int, crc: str) -> bool:
    """Return whether an object may have this size and CRC32C.

    Of a staged object without a range nothing is known until it is composed.
    """
    if name.startswith(STAGING):
        start, _, end = metadata.get(_RANGE, "").partition("-")
        return not end or (size, crc) == (
            int(end) - int(start),
            _base64(range_crc32c(int(start), int(end))),
        )
    series = Series.of(name)
    return series is not None and (size, crc) == (series.size, _base64(crc32c(series.size)))


def change(
    objects: MutableMapping[str, Resource],
    name: str,
    request: Request,
    create: Callable[[Resource], Resource],
) -> Resource:
    """Compose, patch or delete the object `name` and return its resource. Raise RefusedError.

    `create` returns the resource of a new object.
    """
    composed = name.removesuffix("/compose")
    is_compose = request.method == "POST" and composed != name
    name = composed if is_compose else name
    _require(objects.get(name), request.query, may_be_absent=is_compose)
    if is_compose:
        objects[name] = create(_composed(objects, name, json.loads(request.body.read())))
        return objects[name]
    if request.method == "DELETE":
        return objects.pop(name)
    if request.method == "PATCH":
        current, changed = objects[name], json.loads(request.body.read())
        metadata = {**current.get("metadata", {}), **changed.get("metadata", {})}
        metageneration = str(int(current["metageneration"]) + 1)
        objects[name] = {
            **current,
            **changed,
            "metadata": {each: value for each, value in metadata.items() if value is not None},
            "metageneration": metageneration,
        }
        return objects[name]
    raise RefusedError(HTTPStatus.NOT_FOUND)


def _require(
    current: Resource | None, conditions: Mapping[str, str], *, may_be_absent: bool
) -> None:
    if current is None and not may_be_absent:
        raise RefusedError(HTTPStatus.NOT_FOUND)
    found = current or {"generation": "0", "metageneration": "0"}
    for field in ("generation", "metageneration"):
        wanted = conditions.get(f"if{field.capitalize()}Match")
        if wanted is not None and wanted != found[field]:
            raise RefusedError(HTTPStatus.PRECONDITION_FAILED)


def _composed(
    objects: MutableMapping[str, Resource], name: str, order: Mapping[str, Any]
) -> Resource:
    """Join the sources, check the bytes, and delete the sources. ValueError: a client's mistake."""
    size, crc = 0, 0
    for source in order["sourceObjects"]:
        found = objects.get(source["name"])
        pinned = source["objectPreconditions"]["ifGenerationMatch"]
        if found is None or {found["generation"]} != {str(source["generation"]), str(pinned)}:
            raise RefusedError(HTTPStatus.NOT_FOUND)
        value = int.from_bytes(base64.b64decode(found["crc32c"]))
        crc = checksums.combine_crc32c(crc, value, int(found["size"]))
        size += int(found["size"])
    destination: Resource = {**order["destination"], "name": name}
    joined = _base64(crc.to_bytes(4, "big"))
    if not is_expected(name, destination.get("metadata", {}), size, joined):
        raise ValueError(f"{name} would be {size} bytes with CRC32C {joined}")
    if order.get("deleteSourceObjects") is True:
        for source in order["sourceObjects"]:
            del objects[source["name"]]
    return {**destination, "size": str(size), "crc32c": joined}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
