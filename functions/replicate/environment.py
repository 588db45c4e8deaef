"""The composition root: what an execution environment needs, built once and from settings only."""

from collections.abc import Mapping
from dataclasses import dataclass

from replicate import aws_credentials, gcp_secret
from replicate.deadline import Deadline
from replicate.gcs import GcsDestination
from replicate.gcs_client import GcsClient
from replicate.google_credentials import GoogleTokens
from replicate.mapping import Tags
from replicate.plan import Policy
from replicate.replication import Replicator
from replicate.s3 import S3Source
from replicate.s3_client import S3Client
from replicate.secrets_manager import SecretsManager
from replicate.settings import Settings


@dataclass(frozen=True, slots=True)
class Environment:
    """Clients that live as long as the execution environment. Safe across threads."""

    settings: Settings
    s3: S3Client
    gcs: GcsClient
    tokens: GoogleTokens
    secrets: SecretsManager

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Environment":
        """Raises SettingsError. The secret is not read before it is needed."""
        settings = Settings.from_environ(environ)
        aws = aws_credentials.find(environ, settings.region)
        secrets = SecretsManager(aws, settings.region, settings.secrets_endpoint)
        tokens = GoogleTokens(
            lambda deadline: secrets.read(settings.credentials_secret, deadline),
            lambda secret: gcp_secret.credentials(secret, aws, settings.region),
        )
        return cls(
            settings=settings,
            s3=S3Client(aws, settings.region, settings.s3_endpoint),
            gcs=GcsClient(tokens, settings.gcs_endpoint),
            tokens=tokens,
            secrets=secrets,
        )

    def close(self) -> None:
        """Close the connections that are kept; whoever uses it again opens new ones."""
        self.s3.close()
        self.gcs.connections.close()
        self.tokens.close()
        self.secrets.close()

    def replicator(self, deadline: Deadline, policy: Policy) -> Replicator:
        """The protocol over both stores, for one change in one invocation."""
        settings = self.settings
        return Replicator(
            source=S3Source(self.s3, deadline, tags=policy.tags is not Tags.OFF),
            destination=GcsDestination(self.gcs, settings.naming, deadline),
            naming=settings.naming,
            deadline=deadline,
            policy=policy,
            storage_classes=settings.storage_classes,
        )
