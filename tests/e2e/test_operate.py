"""The operator's commands as processes, against a stack in the local cloud."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from memory import sample_event
from operate.conftest import register
from waiting import WITHIN_S, wait_until

from tools.common.processes import plain_environment
from tools.local.aws import ACCESS_KEY, ACCOUNT, REGION, Aws
from tools.local.cloud import LocalCloud
from tools.local.deployment import Deployment
from tools.local.runtime import REPOSITORY

Start = Callable[..., "subprocess.Popen[str]"]
WAITING = '{"StartAt": "It", "States": {"It": {"Type": "Wait", "Seconds": 600, "End": true}}}'


def client(aws: Aws, service: str) -> Any:  # noqa: ANN401 - boto3's, of any service
    build: Any = boto3.client
    key, secret, _ = ACCESS_KEY.values()
    return build(
        service,
        endpoint_url=aws.endpoint_url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


@pytest.fixture(scope="module")
def start(cloud: LocalCloud, queued: Deployment) -> Start:
    """Return a function that starts a command on a stack with the deployment's queues."""
    aws = cloud.aws
    variables = {
        **aws.environment,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_LAMBDA": cloud.lambda_api.url,
    }
    outputs = {
        f"{name}Arn": aws.queue_arn(f"{queued.bucket}-{name}")
        for name in ("EventQueue", "FailureQueue")
    }
    outputs |= {
        "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{queued.bucket}",
        "SourceBucketName": queued.bucket,
        "StateMachineArn": aws.create_state_machine("waiting", WAITING),
        "AlarmTopicArn": client(aws, "sns").create_topic(Name="alarms")["TopicArn"],
        "ReconcileMachineArn": queued.reconcile_machine,
        "ReportsBucketName": queued.reports,
    }
    register(client(aws, "cloudformation"), queued.bucket, outputs, {"Delivery": "queue"})

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


def test_status_counts_what_the_function_has_given_up_and_what_runs(
    start: Start, cloud: LocalCloud, queued: Deployment
) -> None:
    aws, machines = cloud.aws, cloud.aws.step_functions
    foreign = json.dumps(sample_event("s3-put"))  # of a bucket that is not replicated
    aws.sqs.send_message(QueueUrl=queued.event_queue, MessageBody=foreign)
    queued.mapping.drain()
    (machine,) = [
        each["stateMachineArn"]
        for each in machines.list_state_machines()["stateMachines"]
        if each["name"] == "waiting"
    ]
    execution = machines.start_execution(stateMachineArn=machine)["executionArn"]
    printed, said = start("status").communicate(timeout=WITHIN_S)
    machines.stop_execution(executionArn=execution)
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert said == ""
    assert {"events 0 waiting, 0 in work or waiting for a retry", "large objects 1 running"} <= {
        *lines
    }
    dead = lines.index("dead letters 1")
    assert lines[dead + 1].startswith("1 source_not_allowed, such as:")
    assert queued.redrive() == 1
    queued.mapping.drain()
    assert queued.failed() == 1, "nothing can be done for it"
    aws.sqs.purge_queue(QueueUrl=queued.failure_queue)


def test_the_doctor_asks_the_function_and_looks_from_outside(
    start: Start, queued: Deployment
) -> None:
    doctor = start("doctor", "--json", "--compress")
    printed, said = doctor.communicate(timeout=WITHIN_S)
    assert (doctor.returncode, said) == (1, "Not healthy: what failed says what to do.\n")
    hops = json.loads(printed)["hops"]
    of_function = [
        *("settings", "secret", "token", "permissions on gs://replica", "settings of gs://replica"),
        *("canary", "lifecycle rule for parts", "storage costs of parts", "compressed canary"),
        f"permissions on s3://{queued.bucket}",
    ]
    assert [hop["hop"] for hop in hops if hop["ok"]] == [
        *of_function,
        *("stack", f"events of s3://{queued.bucket}", "dead-letter queue"),
        "keys of queues, alarms and logs",
    ]
    missing = {hop["hop"] for hop in hops if not hop["ok"]}
    assert missing == {
        *("polling of the event queue", "failed invocations", "queue policies"),
        *("alarms", "alarm subscriptions"),
    }, "what the local cloud does not have"


def test_an_unknown_prefix_is_an_error_without_a_traceback(start: Start) -> None:
    unknown = start("reconcile", "--prefix", "no such/")
    printed, said = unknown.communicate(timeout=WITHIN_S)
    assert (unknown.returncode, printed) == (1, "")
    assert said.startswith("The reconcile did not end: prefix_not_found: No key in s3://")
    assert said.count("\n") == 1
