"""docs/SECURITY.md lists exactly the permissions that each of the operator's commands uses."""

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from operate.conftest import HEALTHY, REPORTS, Deploy, Run, client
from operate.test_reconcile import store

from tools.local.runtime import REPOSITORY
from tools.operate.errors import ACTIONS

SERVICES = {"monitoring": "cloudwatch"}
"""The prefix in IAM of a service that signs its requests with another name."""

COUNTS = {"compared": 10, "equal": 8, "missing": 2}

IMPLIED = {"kms:Decrypt", "kms:GenerateDataKey"}
"""What SQS and S3 do with the key for the operator."""


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the IAM actions of all requests that the commands send."""
    actions: set[str] = set()

    def record(model: Any, **_: object) -> None:  # noqa: ANN401 - botocore's
        service = model.service_model.signing_name
        named = f"{SERVICES.get(service, service)}:{model.name}"
        actions.add(ACTIONS.get(model.name, named))

    def recorded(**options: Any) -> boto3.Session:  # noqa: ANN401 - boto3's
        made = boto3.Session(**options)
        made.events.register("before-call", record)
        return made

    monkeypatch.setattr("tools.operate.stack.boto3", SimpleNamespace(Session=recorded))
    monkeypatch.setattr("tools.operate.reconcile.POLL_S", 0.01)
    return actions


def documented(command: str) -> set[str]:
    """Return the actions in the rows of all commands and of this one."""
    manual = (REPOSITORY / "docs" / "SECURITY.md").read_text()
    rows = re.findall(rf"^\| (?:all|{command}) \|.*$", manual, re.MULTILINE)
    assert len(rows) == 2
    return set(re.findall(r"`(\w+:\w+)`", "".join(rows))) - IMPLIED


def doctor(deploy: Deploy, run: Run) -> None:
    key = client("kms").create_key()["KeyMetadata"]["KeyId"]
    deploy(KmsKeyArn=key, SourceBucketKind="existing").doctor_responds(HEALTHY)
    run("doctor", "my-stack")


def status(deploy: Deploy, run: Run) -> None:
    fill(deploy)
    assert run("status", "my-stack").exit_code == 0


def redrive(deploy: Deploy, run: Run) -> None:
    fill(deploy)
    assert run("redrive", "my-stack", "--code", "a").exit_code == 0


def reconcile(deploy: Deploy, run: Run) -> None:
    fill(deploy)
    store("report", "differences", COUNTS)
    store("repair", "nominated", COUNTS)
    run("reconcile", "my-stack", "--repair", typed="y\n")


def fill(deploy: Deploy) -> None:
    """Deploy a stack with dead letters and the report of a reconcile."""
    deploy(polled=False).fail(
        *[
            {"failedEvent": {}, "failures": [{"code": code, "message": "No."}]}
            for code in ("a", "b")
        ]
    )
    body = json.dumps({"ended": "equal", "ended_at": "today", "differences": 0, "counts": COUNTS})
    client("s3").put_object(Bucket=REPORTS, Key="runs/20261126T01-b/summary.json", Body=body)


@pytest.mark.parametrize("command", [doctor, status, redrive, reconcile])
def test_command_uses_the_permissions_that_are_listed_and_no_others(
    deploy: Deploy, run: Run, used: set[str], command: Callable[[Deploy, Run], None]
) -> None:
    command(deploy, run)
    assert used == documented(command.__name__)
