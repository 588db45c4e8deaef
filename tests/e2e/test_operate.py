"""The operator's commands as processes, against a stack in the local cloud."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import boto3
import pytest
from operate.conftest import register

from tools.common.processes import plain_environment
from tools.local.aws import REGION
from tools.local.cloud import LocalCloud
from tools.local.deployment import Deployment
from tools.local.runtime import REPOSITORY

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(cloud: LocalCloud, queued: Deployment) -> Start:
    """Return a function that starts a command on a stack with the deployment's queues."""
    aws = cloud.aws
    variables = {**aws.environment, "AWS_DEFAULT_REGION": REGION}
    cloudformation = boto3.client(
        "cloudformation",
        endpoint_url=aws.endpoint_url,
        region_name=REGION,
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    outputs = {
        f"{name}Arn": aws.queue_arn(f"{queued.bucket}-{name}")
        for name in ("EventQueue", "FailureQueue")
    }
    register(cloudformation, queued.bucket, outputs)

    def popen(command: str, *options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-m", "tools.operate", command, queued.bucket, *options],
            cwd=REPOSITORY,
            env={**plain_environment(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return popen


def test_an_interrupted_redrive_stops_at_once_and_the_next_one_moves_the_rest(
    start: Start, cloud: LocalCloud, queued: Deployment
) -> None:
    queued.mapping.drain()  # the test event that S3 sends first
    for _ in range(15):
        cloud.aws.sqs.send_message(
            QueueUrl=queued.failure_queue, MessageBody='{"Event": "s3:TestEvent"}'
        )
    first = start("redrive", "--rate", "0.1")
    give_up = time.monotonic() + 30
    while queued.failed() > 5:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGINT)
    printed, said = first.communicate(timeout=20)
    assert (first.returncode, said) == (130, "Interrupted.\n")
    assert printed.split()[-3:] == ["unknown", "10", "0"]

    second = start("redrive")
    printed, said = second.communicate(timeout=20)
    assert (second.returncode, said) == (0, "")
    assert printed.split()[-3:] == ["unknown", "5", "0"]
    assert (queued.failed(), queued.waiting()) == (0, 15)
    queued.mapping.drain()
