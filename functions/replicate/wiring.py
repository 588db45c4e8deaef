"""The composition root: what an execution environment needs, built once and from settings only."""

from collections.abc import Mapping
from dataclasses import dataclass

from replicate.aws_clients import AwsClients
from replicate.gcs import GcsDestination
from replicate.gcs.client import GcsClient
from replicate.gcs.credentials import SecretCredentials
from replicate.gcs.secret import Secret
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Tags
from replicate.protocol.plan import Policy
from replicate.protocol.replicator import Replicator
from replicate.retry import DEFAULT_POLICY, RetryPolicy, RoundClock
from replicate.s3 import S3Source
from replicate.settings import Settings
from replicate.telemetry import silence_libraries


@dataclass(frozen=True, slots=True)
class Environment:
    """Clients that live as long as the execution environment. Safe across threads."""

    settings: Settings
    aws: AwsClients
    gcs: GcsClient
    retries: RetryPolicy

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str],
        retries: RetryPolicy = DEFAULT_POLICY,
        *,
        verify: str | None = None,
    ) -> "Environment":
        """Build everything; the secret is not read before it is needed.

        Raises SettingsError, and UnavailableError when the AWS credentials cannot be read.

        `verify` is what boto3 checks certificates with, None for its default.
        The SDKs read their own standard variables (credentials, endpoints, proxies, certificate
        authorities) from the process's environment.
        """
        silence_libraries()
        settings = Settings.from_environ(environ)
        aws = AwsClients(settings.region, retries, verify)
        secret = Secret(aws, settings.credentials_secret, settings.region, retries)
        return cls(
            settings=settings,
            aws=aws,
            gcs=GcsClient(SecretCredentials(secret, retries)),
            retries=retries,
        )

    def close(self) -> None:
        """Close the connections."""
        self.aws.close()
        self.gcs.close()

    def source(self, deadline: Deadline, *, tags: bool = False) -> S3Source:
        """Return S3 for one invocation."""
        return S3Source(self.aws, deadline, self.retries, tags=tags)

    def destination(self, deadline: Deadline) -> GcsDestination:
        """Return GCS for one invocation."""
        return GcsDestination(self.gcs, self.settings.naming, deadline, self.retries)

    def replicator(self, deadline: Deadline, policy: Policy) -> Replicator:
        """Return the protocol over both stores, for one change in one invocation."""
        return Replicator(
            source=self.source(deadline, tags=policy.tags is not Tags.OFF),
            destination=self.destination(deadline),
            naming=self.settings.naming,
            clock=RoundClock(self.retries, deadline),
            policy=policy,
            storage_classes=self.settings.storage_classes,
        )
