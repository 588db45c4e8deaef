"""Operations on one object: get, patch, delete."""

from tools.local.gcs import media, metadata
from tools.local.gcs.messages import Request, Response, empty_response, resource_response
from tools.local.gcs.service import Service


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
