"""AWS on this machine: moto's server as a process, with S3, Secrets Manager and SQS in it."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

from tools.common import processes
from tools.common.processes import Child

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sqs import SQSClient

REGION: Final = "eu-central-1"
ACCESS_KEY = {
    "AWS_ACCESS_KEY_ID": "AKIALOCALLOCALLOCAL0",
    "AWS_SECRET_ACCESS_KEY": "local-and-not-a-secret",
    "AWS_SESSION_TOKEN": "local",
}


class Aws:
    """A region of AWS with nothing in it yet. `close` it."""

    def __init__(self, folder: Path) -> None:
        self._server = Child(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            env={**processes.plain_environment(), "HOME": str(folder), "TMPDIR": str(folder)},
            log=folder / "moto.log",
        )
        self.endpoint_url = self._server.wait_for_output(r"Running on (http://[\d.:]+)")
        session = boto3.Session(
            aws_access_key_id=ACCESS_KEY["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ACCESS_KEY["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=ACCESS_KEY["AWS_SESSION_TOKEN"],
            region_name=REGION,
        )
        config = Config(retries={"total_max_attempts": 2}, max_pool_connections=20)
        self.s3: S3Client = session.client("s3", endpoint_url=self.endpoint_url, config=config)
        self.sqs: SQSClient = session.client("sqs", endpoint_url=self.endpoint_url, config=config)
        self.secrets: SecretsManagerClient = session.client(
            "secretsmanager", endpoint_url=self.endpoint_url, config=config
        )

    @property
    def environment(self) -> dict[str, str]:
        """What leads an AWS SDK or command line here."""
        return {"AWS_ENDPOINT_URL": self.endpoint_url, "AWS_REGION": REGION, **ACCESS_KEY}

    def create_bucket(self, name: str, *, versioned: bool = False) -> None:
        """Create a bucket that says nothing to anybody."""
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        if versioned:
            self.s3.put_bucket_versioning(
                Bucket=name, VersioningConfiguration={"Status": "Enabled"}
            )

    def create_secret(self, name: str, value: str) -> str:
        """Keep a secret; returns its ARN."""
        return self.secrets.create_secret(Name=name, SecretString=value)["ARN"]

    def notify_queue(self, bucket: str) -> str:
        """Let a bucket report its changes to a new queue; returns the queue's URL."""
        url = self.sqs.create_queue(QueueName=f"{bucket}-events")["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        self.s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {
                        "QueueArn": attributes["Attributes"]["QueueArn"],
                        "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                    }
                ]
            },
        )
        return url

    def requests(self) -> list[str]:
        """Every request so far: method and path, such as `GET /bucket/key`."""
        found = re.findall(r'"(?:\x1b\S*m)?([A-Z]+ \S+) HTTP/1.1', self._server.log.read_text())
        return [str(request) for request in found]

    def close(self) -> None:
        for client in (self.s3, self.sqs, self.secrets):
            client.close()
        self._server.stop()
