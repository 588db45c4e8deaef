"""AWS on this machine: moto's server as a process.

It has S3, Secrets Manager, SQS, EventBridge and Step Functions.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config

from tools.common import http, processes
from tools.common.processes import Child

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sqs import SQSClient
    from types_boto3_stepfunctions import SFNClient

REGION: Final = "eu-central-1"
ACCOUNT: Final = "123456789012"
ACCESS_KEY = {
    "AWS_ACCESS_KEY_ID": "AKIALOCALLOCALLOCAL0",
    "AWS_SECRET_ACCESS_KEY": "local-and-not-a-secret",
    "AWS_SESSION_TOKEN": "local",
}


class Aws:
    """An empty region of AWS. `close` it."""

    def __init__(
        self, folder: Path, *, host: str = "127.0.0.1", lambda_port: int | None = None
    ) -> None:
        """`lambda_port` is that of a LambdaApi, which executions of state machines call."""
        self._server = Child(
            [sys.executable, "-m", "moto.server", "-H", host, "-p", "0"],
            env={
                **processes.plain_environment(),
                "HOME": str(folder),
                "TMPDIR": str(folder),
                # Where moto's state machines look for every service.
                **({"MOTO_PORT": str(lambda_port)} if lambda_port else {}),
            },
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
        self.step_functions: SFNClient = session.client(
            "stepfunctions", endpoint_url=self.endpoint_url, config=config
        )
        self.events: Any = session.client(  # EventBridge; no type hints are installed for it
            "events", endpoint_url=self.endpoint_url, config=config
        )

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which an AWS SDK or command line uses this region."""
        return {"AWS_ENDPOINT_URL": self.endpoint_url, "AWS_REGION": REGION, **ACCESS_KEY}

    def create_bucket(self, name: str, *, versioned: bool = False) -> None:
        """Create a bucket without notifications."""
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        if versioned:
            self.s3.put_bucket_versioning(
                Bucket=name, VersioningConfiguration={"Status": "Enabled"}
            )

    def create_secret(self, name: str, value: str) -> str:
        """Create a secret; return its ARN."""
        return self.secrets.create_secret(Name=name, SecretString=value)["ARN"]

    def create_queue(self, name: str, attributes: Mapping[str, str] | None = None) -> str:
        """Create a queue; return its URL."""
        return self.sqs.create_queue(QueueName=name, Attributes=dict(attributes or {}))["QueueUrl"]  # type: ignore[arg-type]

    def create_state_machine(self, name: str, definition: str) -> str:
        """Create a state machine whose executions run; return its ARN."""
        execute = {"stepfunctions": {"execute_state_machine": True}}
        http.call("POST", f"{self.endpoint_url}/moto-api/config", execute)
        return self.step_functions.create_state_machine(
            name=name, definition=definition, roleArn=f"arn:aws:iam::{ACCOUNT}:role/{name}"
        )["stateMachineArn"]

    def queue_arn(self, name: str) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def queue_length(self, url: str) -> int:
        """Count the messages of a queue, also the delayed, and those received and not deleted.

        moto counts visible and hidden ones one after the other, so it misses those that become
        visible in between. It does not miss them twice.
        """
        return self._queue_length(url) or self._queue_length(url)

    def _queue_length(self, url: str) -> int:
        found = self.sqs.get_queue_attributes(
            QueueUrl=url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )
        return sum(int(count) for count in found["Attributes"].values())

    def notify(self, bucket: str, configuration: Mapping[str, Any]) -> None:
        """Set where a bucket sends its notifications, in the words of S3's API."""
        self.s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration=configuration,  # type: ignore[arg-type]
        )

    def notify_queue(self, bucket: str) -> str:
        """Let a bucket send its notifications to a new queue; return the queue's URL."""
        name, events = f"{bucket}-events", ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
        url = self.create_queue(name)
        queue = {"QueueArn": self.queue_arn(name), "Events": events}
        self.notify(bucket, {"QueueConfigurations": [queue]})
        return url

    def requests(self) -> list[str]:
        """Return every request so far: method and path, such as `GET /bucket/key`."""
        found = re.findall(r'"(?:\x1b\S*m)?([A-Z]+ \S+) HTTP/1.1', self._server.log.read_text())
        return [str(request) for request in found]

    def close(self) -> None:
        for client in (self.s3, self.sqs, self.secrets, self.step_functions, self.events):
            client.close()
        self._server.stop()
