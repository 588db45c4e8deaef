"""The doctor's check of the GCS bucket's settings. None of them is an error."""

from collections.abc import Iterator

from replicate.gcs.bucket import BucketSettings
from replicate.protocol.evidence import Deletes
from replicate.protocol.plan import Overwrite
from replicate.wiring import Environment

DAY_S = 24 * 60 * 60


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
    described = f"in {found.location}, {found.storage_class}, {_history(found)}"
    warnings = "; ".join(_dangers(found, changes=changes))
    return f"Warning: {warnings} ({described})" if warnings else described


def _dangers(found: BucketSettings, *, changes: bool) -> Iterator[str]:
    """Yield what is wrong. `changes` says whether replicas are overwritten or deleted."""
    if changes and found.retention_s:
        days = found.retention_s / DAY_S
        yield f"a retention policy: nothing is overwritten or deleted before {days:g} days"
    if changes and found.default_hold:
        yield "an event-based hold on each new object: nothing is overwritten or deleted"
    if not found.public_access_prevented:
        yield "public access prevention is not enforced on the bucket"


def _history(found: BucketSettings) -> str:
    """Say for how long a deleted or overwritten replica can be restored."""
    kept = ["versioning"] if found.versioning else []
    if found.soft_delete_s:
        kept.append(f"soft delete for {found.soft_delete_s / DAY_S:g} days")
    return " and ".join(kept) or "neither soft delete nor versioning"
