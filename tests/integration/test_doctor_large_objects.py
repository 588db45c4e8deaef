"""The doctor checks what large objects need: the state machine, and the bucket for their parts."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from canned import serve_responses
from memory import Context

from replicate.handler import lambda_handler
from tools.local.gcs import Fault, GcsServer

PREFIX = ".s3-to-gcs-replicator/staging/"
CONDITION = {"age": 2, "matchesPrefix": [PREFIX]}


def lifecycle(condition: dict[str, Any], action: str = "Delete") -> dict[str, Any]:
    return {"rule": [{"action": {"type": action}, "condition": condition}]}


BUCKET = "doctor-large"


@pytest.fixture(scope="module", name="gcs")
def gcs_server() -> Iterator[GcsServer]:
    with GcsServer(["replica"]) as server:
        yield server


@pytest.fixture(autouse=True)
def deployed(
    gcs: GcsServer,
    aws: str,  # noqa: ARG001 - for its variables
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Set the variables of a correct deployment with a state machine, and a lifecycle rule."""
    states, sqs, s3 = boto3.client("stepfunctions"), boto3.client("sqs"), boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    machine = states.create_state_machine(
        name="stack-large-objects",
        definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
        roleArn="arn:aws:iam::123456789012:role/role",
    )["stateMachineArn"]
    queue = sqs.create_queue(QueueName="events")["QueueUrl"]
    environ = {
        "GCS_BUCKET_NAME": "replica",
        "GCP_CREDENTIALS_SECRET": "gcp-large",
        "SOURCE_BUCKETS": BUCKET,
        "LARGE_STATE_MACHINE_ARN": machine,
        "EVENT_QUEUE_URL": queue,
        "STORAGE_EMULATOR_HOST": gcs.url,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    gcs.set_bucket_settings(
        "replica",
        lifecycle=lifecycle(CONDITION),
        iamConfiguration={"publicAccessPrevention": "enforced"},
        softDeletePolicy={"retentionDurationSeconds": "604800"},
    )
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name="gcp-large", SecretString=json.dumps(gcs.create_key()))
    yield
    gcs.clear_faults()
    gcs.withhold()
    secrets.delete_secret(SecretId="gcp-large", ForceDeleteWithoutRecovery=True)
    states.delete_state_machine(stateMachineArn=machine)
    sqs.delete_queue(QueueUrl=queue)
    s3.delete_bucket(Bucket=BUCKET)
    for client in (states, sqs, s3, secrets):
        client.close()


def hops() -> dict[str, dict[str, Any]]:
    """Run the doctor, and return the hops by name. That of the source bucket is another's test."""
    report = lambda_handler({"doctor": True}, Context())
    found = {hop["hop"]: hop for hop in report["hops"]}
    assert report["healthy"] == all(hop["ok"] for hop in found.values())
    assert found.pop(f"permissions on s3://{BUCKET}")["ok"]
    return found


def failed() -> dict[str, str]:
    """Run the doctor, and return what the failed hops found."""
    return {name: hop["found"] for name, hop in hops().items() if not hop["ok"]}


def test_correct_deployment_is_healthy_and_warns_of_nothing() -> None:
    found = {name: hop["found"] for name, hop in hops().items() if hop["ok"]}
    assert [*found.items()][6:] == [
        ("parts", "parts of large objects can be deleted"),
        ("lifecycle rule for parts", f"deletes objects below {PREFIX}"),
        (
            "storage costs of parts",
            "soft delete keeps parts of failed executions for 7 days more",
        ),
        ("state machine", "ACTIVE, and states:DescribeExecution is granted"),
        (
            "event queue",
            "sqs:SendMessage granted: a test event was sent, for which the function does nothing",
        ),
    ]
    assert not [name for name, text in found.items() if "Warning" in text]


@pytest.mark.usefixtures("deployed")
def test_nothing_is_checked_without_a_state_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LARGE_STATE_MACHINE_ARN")
    assert "parts" not in hops()


def test_denied_state_machine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = json.dumps({"__type": "AccessDeniedException", "message": "no"}).encode()
    with serve_responses((400, denied)) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", service.url)
        found = failed()
    assert found.keys() == {"state machine"}
    assert "DescribeStateMachine was refused (AccessDeniedException)" in found["state machine"]


def test_missing_state_machine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An execution of an unknown machine does not exist either."""
    machine = "arn:aws:states:us-east-1:123456789012:stateMachine:another"
    monkeypatch.setenv("LARGE_STATE_MACHINE_ARN", machine)
    found = failed()
    assert found.keys() == {"state machine"}
    assert "StateMachineDoesNotExist" in found["state machine"]


def test_queue_that_takes_no_message_is_found(monkeypatch: pytest.MonkeyPatch, aws: str) -> None:
    monkeypatch.setenv("EVENT_QUEUE_URL", f"{aws}/123456789012/another")
    found = failed()
    assert found.keys() == {"event queue"}
    assert "SendMessage was refused" in found["event queue"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"retentionPolicy": {"retentionPeriod": "60"}}, "has a retention policy of 60 seconds"),
        ({"defaultEventBasedHold": True}, "puts an event-based hold on each new object"),
    ],
)
def test_bucket_whose_objects_cannot_be_deleted_is_found(
    gcs: GcsServer, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], named: str
) -> None:
    gcs.set_bucket_settings("replica", lifecycle=lifecycle(CONDITION), **settings)
    obstacle = f"not replicated: gs://replica {named}"
    assert failed() == {
        "parts": (
            f"Large objects are {obstacle}. docs/DEPLOY.md says what the bucket needs for them."
        )
    }

    monkeypatch.setenv("OVERWRITE", "never")
    parts = hops()["parts"]
    assert parts["ok"], "create-only deployments may be meant for such a bucket"
    assert parts["found"] == f"Warning: objects of 17179869184 bytes and more are {obstacle}"


@pytest.mark.parametrize(
    "rules",
    [
        {},
        lifecycle({**CONDITION, "age": 1}),
        lifecycle({"matchesPrefix": [PREFIX]}),
        lifecycle({"age": 2, "matchesPrefix": [f"{PREFIX}a"]}),
        lifecycle({**CONDITION, "isLive": False}),
        lifecycle(CONDITION, action="AbortIncompleteMultipartUpload"),
    ],
)
def test_missing_lifecycle_rule_is_found(gcs: GcsServer, rules: dict[str, Any]) -> None:
    gcs.set_bucket_settings("replica", lifecycle=rules)
    assert failed() == {
        "lifecycle rule for parts": (
            f"No lifecycle rule of gs://replica deletes all objects below {PREFIX} after 2 days or"
            " more. Parts that a stopped run or execution leaves would stay for ever."
            " docs/DEPLOY.md has the command that adds the rule."
        )
    }


@pytest.mark.parametrize(
    "condition",
    [
        {"age": 30, "matchesPrefix": ["other/", ".s3-to-gcs-replicator/"]},
        {"age": 7},
    ],
)
def test_wider_lifecycle_rule_is_enough(gcs: GcsServer, condition: dict[str, Any]) -> None:
    gcs.set_bucket_settings("replica", lifecycle=lifecycle(condition))
    assert not failed()


def test_another_staging_prefix_needs_another_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGING_PREFIX", "parts/")
    assert "below parts/ after" in failed()["lifecycle rule for parts"]


def test_permission_that_the_doctor_lacks_is_named(gcs: GcsServer) -> None:
    gcs.add_fault(Fault(operation="buckets.get", status=403, times=4))
    found = hops()
    assert found["lifecycle rule for parts"] == {
        "hop": "lifecycle rule for parts",
        "ok": True,
        "found": (
            "Warning: not checked, and neither are retention policy, holds and storage class. Grant"
            " the credentials storage.buckets.get on gs://replica"
        ),
    }
    assert found["storage costs of parts"] == {
        "hop": "storage costs of parts",
        "ok": True,
        "found": "not checked",
    }


@pytest.mark.parametrize(
    ("settings", "classes", "found"),
    [
        ({}, "", "parts cost nothing when deleted"),
        (
            {"storageClass": "NEARLINE"},
            "",
            "Warning: parts in NEARLINE are billed for at least 30 days",
        ),
        ({}, "GLACIER_IR=ARCHIVE", "Warning: parts in ARCHIVE are billed for at least 365 days"),
        (
            {"versioning": {"enabled": True}},
            "",
            "versioning keeps deleted parts until the lifecycle rule deletes them",
        ),
    ],
)
def test_what_parts_cost_is_shown(
    gcs: GcsServer,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
    classes: str,
    found: str,
) -> None:
    monkeypatch.setenv("STORAGE_CLASS_MAP", classes)
    gcs.set_bucket_settings("replica", lifecycle=lifecycle(CONDITION), **settings)
    costs = hops()["storage costs of parts"]
    assert (costs["ok"], costs["found"]) == (True, found)
