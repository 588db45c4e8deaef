"""Reading, patching, replacing and deleting single objects."""

from tools.local.gcs import media, metadata
from tools.local.gcs.exchange import Request, Response, resource_response
from tools.local.gcs.preconditions import Preconditions, integer
from tools.local.gcs.service import Service


def get(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Return the resource, or with `alt=media` the bytes."""
    generation = integer(request.query, "generation")
    preconditions = Preconditions.parse(request.query)
    if request.query.get("alt") != "media":
        stored = service.store.get(bucket, name, generation=generation, preconditions=preconditions)
        return resource_response(
            request, stored.resource(request.base_url), headers={"ETag": stored.etag}
        )
    stored, file = service.store.open(
        bucket, name, generation=generation, preconditions=preconditions
    )
    try:
        return media.answer(request, stored, file)
    except BaseException:
        file.close()
        raise


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
    return resource_response(request, stored.resource(request.base_url))


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
    return resource_response(request, stored.resource(request.base_url))


def delete(service: Service, request: Request, bucket: str, name: str) -> Response:
    """Delete the live object."""
    service.store.delete(
        bucket,
        name,
        generation=integer(request.query, "generation"),
        preconditions=Preconditions.parse(request.query),
    )
    return Response(status=204)
