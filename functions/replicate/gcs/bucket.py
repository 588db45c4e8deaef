"""What the settings of a GCS bucket mean for replicas and staged objects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import Forbidden, NotFound
from google.cloud.storage import Bucket
from google.cloud.storage.constants import PUBLIC_ACCESS_PREVENTION_ENFORCED

DELETE = "storage.objects.delete"
UPDATE = "storage.objects.update"
"""The checksum of a part is recorded in its metadata after the part is written."""
READ_SETTINGS = "storage.buckets.get"

_DAY_S = 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSettings:
    """The settings of a bucket that matter to replicas and staged objects."""

    location: str
    """Region, dual-region or multi-region, such as `EU`."""
    public_access_prevented: bool
    """Whether the bucket itself enforces it; an organization policy may do so, too."""
    retention_days: float
    """Days for which the retention policy protects each object; 0 without one."""
    retention_locked: bool
    """Whether the retention policy can be neither shortened nor removed."""
    default_hold: bool
    """Whether each new object has an event-based hold."""
    storage_class: str
    versioning: bool
    soft_delete_days: float
    """Days for which deleted objects are kept; 0 without soft delete."""
    lifecycle_rules: tuple[Mapping[str, Any], ...]
    """`action` and `condition` of each rule, as in the JSON API."""

    def deletes_after_days(self, prefix: str, days: int) -> bool:
        """Return whether a rule deletes every object below a prefix, but not before `days`."""
        return any(
            rule["action"]["type"] == "Delete"
            and rule["condition"].keys() <= {"age", "matchesPrefix"}
            and rule["condition"].get("age", 0) >= days
            and any(map(prefix.startswith, rule["condition"].get("matchesPrefix", [""])))
            for rule in self.lifecycle_rules
        )


def settings(bucket: Bucket, timeout: float) -> BucketSettings | None:
    """Read a bucket's settings; None if the credentials may not."""
    if not _can_read(bucket, timeout):
        return None
    access = bucket.iam_configuration.get("publicAccessPrevention")
    return BucketSettings(
        location=bucket.location or "an unknown location",
        public_access_prevented=access == PUBLIC_ACCESS_PREVENTION_ENFORCED,
        retention_days=int(bucket.retention_period or 0) / _DAY_S,
        retention_locked=bool(bucket.retention_policy_locked),
        default_hold=bool(bucket.default_event_based_hold),
        storage_class=bucket.storage_class or "STANDARD",
        versioning=bool(bucket.versioning_enabled),
        soft_delete_days=int(bucket.soft_delete_policy.retention_duration_seconds or 0) / _DAY_S,
        lifecycle_rules=tuple(bucket.lifecycle_rules),
    )


def staging_obstacle(bucket: Bucket, timeout: float, prefix: str) -> str:
    """Return why objects below a prefix could not be deleted; empty if they can.

    Credentials that may not read the bucket's settings go on: then GCS refuses what it must.
    """
    granted = bucket.test_iam_permissions([DELETE, UPDATE], timeout=timeout, retry=None)
    absent = bucket.blob(f"{prefix}absent")
    absent.metadata = {"asked": "may I?"}
    requests = {DELETE: absent.delete, UPDATE: absent.patch}
    for permission, request in requests.items():
        if permission not in granted and not _is_allowed(request, timeout):
            return f"the credentials lack {permission} on gs://{bucket.name}/{prefix}"
    if not _can_read(bucket, timeout):
        return ""
    if bucket.retention_period:
        return f"gs://{bucket.name} has a retention policy of {bucket.retention_period} seconds"
    if bucket.default_event_based_hold:
        return f"gs://{bucket.name} puts an event-based hold on each new object"
    return ""


def _is_allowed(request: Callable[..., object], timeout: float) -> bool:
    """Send a request about an object that does not exist: GCS checks the permission first.

    A permission with a condition on names is not granted on the bucket, which has no such name.
    """
    try:
        request(timeout=timeout, retry=None)
    except NotFound:
        return True
    except Forbidden:
        return False
    return True


def _can_read(bucket: Bucket, timeout: float) -> bool:
    """Load the bucket's settings. Return whether the credentials may read them."""
    try:
        bucket.reload(timeout=timeout, retry=None)
    except Forbidden:
        return False
    return True
