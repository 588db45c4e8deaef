"""Deploys template.yaml onto the local cloud: its wiring, and its function in Lambda's runtime."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tools.local.cloud import REPLICA, LocalCloud
from tools.local.deployment import Deployment
from tools.local.runtime import LambdaRuntime
from tools.local.template import Stack

ENDPOINTS = ("AWS_DEFAULT_REGION", "STORAGE_EMULATOR_HOST")
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployed template. Build it with `deployed`."""

    bucket: str
    function: LambdaRuntime
    wiring: Deployment


@contextmanager
def deployed(cloud: LocalCloud, bucket: str, **parameters: str | float) -> Iterator[Deployed]:
    """Run a stack with a source bucket of this name and these parameters of the template."""
    stack = Stack(
        SourceBucketName=bucket,
        GcsBucketName=REPLICA,
        GcpCredentialsSecretArn=cloud.function_environment["GCP_CREDENTIALS_SECRET"],
        **parameters,
    )
    properties = {name: resource.properties for name, resource in stack.resources.items()}
    function = _function(cloud, bucket, properties["ReplicateFunction"])
    try:
        wiring = Deployment(cloud.aws, properties, function.invoke, name=bucket)
        yield Deployed(bucket=bucket, function=function, wiring=wiring)
    finally:
        function.close()


def _function(cloud: LocalCloud, name: str, properties: dict[str, Any]) -> LambdaRuntime:
    """Run the template's function, with endpoints of this cloud in place of those of the real."""
    variables = {n: v for n, v in properties["Environment"]["Variables"].items() if v != ""}
    return LambdaRuntime(
        {
            **cloud.aws.environment,
            **{name: cloud.function_environment[name] for name in ENDPOINTS},
            **variables,
        },
        folder=cloud.folder,
        handler=properties["Handler"],
        name=name,
        timeout_s=TIMEOUT_S,
        memory_mb=properties["MemorySize"],
    )
