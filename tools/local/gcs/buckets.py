"""The little that is needed of buckets."""

from dataclasses import replace

from tools.local.gcs import metadata
from tools.local.gcs.errors import ApiError, invalid
from tools.local.gcs.exchange import Request, Response, resource_response
from tools.local.gcs.service import Service
from tools.local.gcs.store import Bucket


def create(service: Service, request: Request) -> Response:
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
    return resource_response(request, bucket.resource(request.base_url))


def list_(service: Service, request: Request) -> Response:
    """List all buckets."""
    items = [bucket.resource(request.base_url) for bucket in service.store.buckets()]
    return resource_response(request, {"kind": "storage#buckets", "items": items})


def get(service: Service, request: Request, bucket: str) -> Response:
    """Return a bucket's resource."""
    return resource_response(request, service.store.bucket(bucket).resource(request.base_url))


def delete(service: Service, request: Request, bucket: str) -> Response:  # noqa: ARG001
    """Delete an empty bucket."""
    service.store.delete_bucket(bucket)
    return Response(status=204)


def test_iam_permissions(service: Service, request: Request, bucket: str) -> Response:
    """Name those permissions of the asked ones that are not lacking; no list where there are none.

    What lacks one is refused by a fault only.
    """
    service.store.bucket(bucket)
    asked = request.queries.get("permissions", [])
    if not asked:
        raise ApiError(400, "required", "Required parameter: permissions")
    answer: dict[str, object] = {"kind": "storage#testIamPermissionsResponse"}
    if granted := [name for name in asked if name not in service.lacking]:
        answer["permissions"] = granted
    return resource_response(request, answer)
