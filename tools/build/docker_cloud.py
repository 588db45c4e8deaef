"""The stores for a function in a container: on this machine, under Docker's name for it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tools.local.aws import Aws
from tools.local.cloud import REPLICA
from tools.local.google_cloud import GoogleCloud

BUCKET = "my-source-bucket"
"""The bucket in the sample events."""

CONTAINERS_SEE = "host.docker.internal"
"""Docker's name for this machine inside a container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerCloud:
    """An S3 bucket, a GCS bucket, and the variables with which the function reaches both."""

    aws: Aws
    google: GoogleCloud
    function_environment: dict[str, str]


@contextmanager
def docker_cloud(folder: Path, host: str) -> Iterator[DockerCloud]:
    """Run the stores at the address that containers reach, and at no other."""
    with ExitStack() as stack:
        aws = Aws(folder, host=host)
        stack.callback(aws.close)
        google = GoogleCloud(folder, REPLICA, host=host)
        stack.callback(google.close)
        aws.create_bucket(BUCKET)
        key = google.key | {"token_uri": _from_container(google.key["token_uri"])}
        yield DockerCloud(
            aws=aws,
            google=google,
            function_environment={
                "AWS_ENDPOINT_URL": _from_container(aws.endpoint_url),
                "STORAGE_EMULATOR_HOST": _from_container(google.url),
                "GCS_BUCKET_NAME": REPLICA,
                "GCP_CREDENTIALS_SECRET": aws.create_secret("gcp", json.dumps(key)),
                "SOURCE_BUCKETS": BUCKET,
                "REPLICATE_DELETES": "true",
            },
        )


def _from_container(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{CONTAINERS_SEE}:{parts.port}").geturl()
