"""The composition root of a reconcile. Other invocations do not import it."""

from replicate.aws_clients import AwsClients
from replicate.errors import SettingsError
from replicate.gcs.client import GcsClient
from replicate.gcs.listing import GcsListing
from replicate.protocol.deadline import Deadline
from replicate.protocol.evidence import Deletes
from replicate.reconcile import Reconcile
from replicate.retry import RetryPolicy
from replicate.s3.listing import S3Listing
from replicate.s3.reports import S3Reports
from replicate.settings import Settings
from replicate.sqs.nominations import SqsNominations


def reconcile(
    settings: Settings, aws: AwsClients, gcs: GcsClient, deadline: Deadline, retries: RetryPolicy
) -> Reconcile:
    """Return the steps of a reconcile. Raise SettingsError without a reports bucket or a queue."""
    for name, value in (
        ("REPORTS_BUCKET", settings.reports_bucket),
        ("EVENT_QUEUE_URL", settings.event_queue_url),
    ):
        if not value:
            raise SettingsError(
                f"The environment variable {name} is not set, so there is no reconcile. Deploy the"
                " stack again, or set it on the function."
            )
    policy, scope = settings.policy, settings.scope
    return Reconcile(
        source=S3Listing(aws, deadline, retries),
        replicas=GcsListing(gcs, settings.naming, deadline, retries),
        reports=S3Reports(aws, deadline, retries, settings.reports_bucket),
        nominations=SqsNominations(aws, deadline, retries, settings.event_queue_url),
        deadline=deadline,
        naming=settings.naming,
        buckets=scope.buckets,
        source_prefix=scope.prefix,
        source_suffix=scope.suffix,
        overwrite=policy.overwrite,
        replicates_all_deletes=policy.deletes is Deletes.ALL,
    )
