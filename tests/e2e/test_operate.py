"""The operator's commands as processes, against a stack in the local cloud."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import boto3
import pytest
from operate.conftest import register
from waiting import WITHIN_S, wait_until

from tools.common.processes import plain_environment
from tools.local.aws import REGION
from tools.local.cloud import LocalCloud
from tools.local.deployment import Deployment
from tools.local.runtime import REPOSITORY

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
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
    outputs |= {
        "ReconcileMachineArn": queued.reconcile_machine,
        "ReportsBucketName": queued.reports,
    }
    register(cloudformation, queued.bucket, outputs)

    def popen(command: str, *options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-m", "tools.operate", command, queued.bucket, *options],
            cwd=REPOSITORY,
            env={**plain_environment(), **variables},
            stdin=subprocess.PIPE,
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
    wait_until(lambda: queued.failed() <= 5, "ten events are moved")
    os.kill(first.pid, signal.SIGINT)
    printed, said = first.communicate(timeout=WITHIN_S)
    assert (first.returncode, said) == (130, "Interrupted.\n")
    # The command may not have read SQS's response yet: then its table lacks the ten.
    assert printed.split()[-3:] in (["unknown", "10", "0"], ["code", "moved", "kept"])

    second = start("redrive")
    printed, said = second.communicate(timeout=WITHIN_S)
    assert (second.returncode, said) == (0, "")
    assert printed.split()[-3:] == ["unknown", "5", "0"]
    assert (queued.failed(), queued.waiting()) == (0, 15)
    queued.mapping.drain()


def test_a_repair_that_somebody_agrees_to_makes_both_sides_equal(
    start: Start, cloud: LocalCloud, queued: Deployment, prefix: str
) -> None:
    for name in ("lost", "equal"):
        cloud.aws.s3.put_object(Bucket=queued.bucket, Key=prefix + name, Body=b"bytes")
    queued.mapping.drain()
    cloud.google.bucket.blob(f"{prefix}lost").delete()
    options = ("--prefix", prefix, "--grace-minutes", "0")

    repair = start("reconcile", *options, "--repair")
    printed, said = repair.communicate("y\n", timeout=WITHIN_S)
    assert (repair.returncode, said) == (0, "")
    assert "Repair 1 differences? 1 objects with 5 Bytes are copied" in printed
    queued.mapping.drain()

    report = start("reconcile", *options)
    printed, said = report.communicate(timeout=WITHIN_S)
    assert (report.returncode, said) == (0, "")
    assert "gs://replica/: equal" in " ".join(printed.split())


def test_an_unknown_prefix_is_an_error_without_a_traceback(start: Start) -> None:
    unknown = start("reconcile", "--prefix", "no such/")
    printed, said = unknown.communicate(timeout=WITHIN_S)
    assert (unknown.returncode, printed) == (1, "")
    assert said.startswith("The reconcile did not end: prefix_not_found: No key in s3://")
    assert said.count("\n") == 1
