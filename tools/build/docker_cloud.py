"""The stores that a function in a container talks to: on this machine, by Docker's name for it."""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import http.client
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from google.cloud import storage
from google.oauth2 import service_account

from tools.common import processes
from tools.common.processes import Child
from tools.local.aws import ACCESS_KEY
from tools.local.google_cloud import SCOPES
from tools.local.runtime import REPOSITORY

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "my-source-bucket"
"""The one that the sample events name."""
REPLICA = "replica"
REGION = "us-east-1"
CONTAINERS_SEE = "host.docker.internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerCloud:
    """An S3 bucket, a GCS bucket, and how the function reaches both."""

    s3: "S3Client"
    gcs: storage.Client
    function_environment: dict[str, str]

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=key)

    def replicas(self) -> dict[str, bytes]:
        """All that is in the GCS bucket."""
        blobs = self.gcs.list_blobs(REPLICA)
        return {blob.name: blob.download_as_bytes() for blob in blobs}


@contextmanager
def docker_cloud(folder: Path, host: str) -> Iterator[DockerCloud]:
    """Run the stores on the address that containers reach, and on no other."""
    with ExitStack() as stack:
        environment = {**processes.plain_environment(), "PYTHONPATH": str(REPOSITORY)}
        moto = Child(
            [sys.executable, "-m", "moto.server", "-H", host, "-p", "0"],
            env=environment | {"HOME": str(folder)},
            log=folder / "moto.log",
        )
        stack.callback(moto.stop)
        aws_port = _port(moto.wait_for_output(r"Running on (http://[\d.:]+)"))
        google = Child(
            [
                *(
                    sys.executable,
                    "-m",
                    "tools.local.gcs",
                    "--bucket",
                    REPLICA,
                    "--data-dir",
                    folder,
                ),
                *("--host", host),
            ],
            env=environment,
            log=folder / "gcs.log",
        )
        stack.callback(google.stop)
        gcs_port = _port(google.wait_for_output(r'"url": "([^"]+)"'))
        session = boto3.Session(
            aws_access_key_id=ACCESS_KEY["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ACCESS_KEY["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        endpoint = f"http://{host}:{aws_port}"
        s3 = session.client("s3", endpoint_url=endpoint)
        stack.callback(s3.close)
        s3.create_bucket(Bucket=BUCKET)
        secrets = session.client("secretsmanager", endpoint_url=endpoint)
        stack.callback(secrets.close)
        key = _service_account_key(host, gcs_port)
        secret = secrets.create_secret(Name="gcp", SecretString=json.dumps(key))
        gcs = _google_client(key, f"http://{host}:{gcs_port}")
        stack.callback(gcs.close)
        yield DockerCloud(
            s3=s3,
            gcs=gcs,
            function_environment={
                "AWS_ENDPOINT_URL": f"http://{CONTAINERS_SEE}:{aws_port}",
                "STORAGE_EMULATOR_HOST": f"http://{CONTAINERS_SEE}:{gcs_port}",
                "GCS_BUCKET_NAME": REPLICA,
                "GCP_CREDENTIALS_SECRET": secret["ARN"],
                "SOURCE_BUCKETS": BUCKET,
                "REPLICATE_DELETES": "true",
            },
        )


def _service_account_key(host: str, port: int) -> dict[str, Any]:
    """A new key, whose token address is the one that containers see."""
    headers = {"content-type": "application/json", "host": f"{CONTAINERS_SEE}:{port}"}
    with closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("POST", "/_local/keys", "{}", headers)
        key: dict[str, Any] = json.load(connection.getresponse())
    return key


def _google_client(key: dict[str, Any], url: str) -> storage.Client:
    """Google's own client, which reaches the server from outside the container."""
    credentials = service_account.Credentials.from_service_account_info(
        key | {"token_uri": f"{url}/token"}, scopes=SCOPES
    )
    return storage.Client(
        project=key["project_id"],
        credentials=credentials,
        client_options={"api_endpoint": url},
    )


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
