"""The doctor's check of the GCS bucket's settings. None of them is an error."""

from collections.abc import Iterator

from replicate.gcs.bucket import BucketSettings
from replicate.protocol.evidence import Deletes
from replicate.protocol.plan import Overwrite
from replicate.wiring import Environment


def settings(environment: Environment) -> str:
    """Describe the bucket. Begin with "Warning" where a setting endangers replicas."""
    found = environment.destination.bucket_settings()
    if found is None:
        return (
            "Warning: not checked. Grant the credentials storage.buckets.get on"
            f" gs://{environment.settings.naming.bucket}"
        )
    policy = environment.settings.policy
    changes = policy.deletes is not Deletes.NONE or policy.overwrite is not Overwrite.NEVER
    described = (
        f"location {found.location}, not judged; {found.storage_class}; {', '.join(_kept(found))}"
    )
    warnings = "; ".join(_dangers(found, changes=changes))
    return f"Warning: {warnings} ({described})" if warnings else described


def _dangers(found: BucketSettings, *, changes: bool) -> Iterator[str]:
    """Yield what is wrong. `changes` says whether replicas are overwritten or deleted."""
    if changes and found.retention_days:
        yield f"{_retention(found)}: nothing is overwritten or deleted earlier"
    if changes and found.default_hold:
        yield "an event-based hold on each new object: nothing is overwritten or deleted"
    if changes and not found.soft_delete_days and not found.versioning:
        yield "an overwritten or deleted replica cannot be restored: turn on soft delete"
    if not found.public_access_prevented:
        yield "public access prevention is not enforced on the bucket"


def _kept(found: BucketSettings) -> Iterator[str]:
    """Yield how long a replica is protected, and how it can be restored afterwards."""
    if found.retention_days:
        yield _retention(found)
    if found.versioning:
        yield "versioning"
    if found.soft_delete_days:
        yield f"soft delete for {found.soft_delete_days:g} days"
    elif not found.versioning:
        yield "neither soft delete nor versioning"


def _retention(found: BucketSettings) -> str:
    locked = "locked" if found.retention_locked else "not locked"
    return f"a retention policy of {found.retention_days:g} days ({locked})"
