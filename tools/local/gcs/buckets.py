"""Operations on a bucket: get, test permissions."""

from tools.local.gcs.errors import ApiError
from tools.local.gcs.messages import Request, Response, json_response, resource_response
from tools.local.gcs.service import Service


def get(service: Service, request: Request, bucket: str) -> Response:
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
