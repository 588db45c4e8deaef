"""The reconcile: moto runs the state machine that is deployed, and its tasks the real function."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from waiting import wait_until

from replicate.reconcile.runs import run_id
from tools.local.cloud import LocalCloud
from tools.local.deployment import Deployment, deployed

BUCKET = "reconciled"


@pytest.fixture(scope="module")
def deployment(cloud: LocalCloud) -> Iterator[Deployment]:
    with deployed(cloud, BUCKET, Delivery="queue", GcsKeyPrefix=f"{BUCKET}/") as running:
        yield running


def execute(deployment: Deployment, **request: Any) -> dict[str, Any]:  # noqa: ANN401
    """Run an execution to its end; return how it ended."""
    machines, name = deployment.aws.step_functions, uuid.uuid4().hex
    arn = machines.start_execution(
        stateMachineArn=deployment.reconcile_machine,
        name=name,
        input=json.dumps({"grace_minutes": 0, **request}),
    )["executionArn"]
    found = machines.describe_execution(executionArn=arn)

    def has_ended() -> bool:
        found.update(machines.describe_execution(executionArn=arn))
        return found["status"] != "RUNNING"

    wait_until(has_ended, "the end of the execution")
    if "output" in found:
        output: dict[str, Any] = json.loads(found["output"])
        assert output["run"] == run_id(found["startDate"].isoformat(), name)
        return output
    return dict(found)


def test_report_finds_exactly_what_differs_and_a_repair_heals_it(
    cloud: LocalCloud, deployment: Deployment
) -> None:
    s3, replicas = cloud.aws.s3, cloud.google.bucket
    for key in ("equal", "lost +%20ü", "damaged"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    deployment.mapping.drain()
    replicas.blob(f"{BUCKET}/lost +%20ü").delete()
    replicas.blob(f"{BUCKET}/damaged").upload_from_string(b"damage!")
    notifications = s3.get_bucket_notification_configuration(Bucket=BUCKET)
    cloud.aws.notify(BUCKET, {})
    s3.put_object(Bucket=BUCKET, Key="never notified", Body=b"n")
    cloud.aws.notify(BUCKET, {"QueueConfigurations": notifications["QueueConfigurations"]})
    deployment.mapping.drain()  # S3's test event

    report = execute(deployment)

    assert report["ended"] == "differences"
    counts = {name: report["counts"][name] for name in ("equal", "missing", "different")}
    assert counts == {"equal": 1, "missing": 2, "different": 1}
    assert deployment.waiting() == 0, "a report changes nothing"
    for name in ("report.html", "summary.json", "differences.csv"):
        s3.head_object(Bucket=report["bucket"], Key=report["prefix"] + name)

    assert execute(deployment, mode="repair")["ended"] == "too_many_differences"
    repair = execute(deployment, mode="repair", from_run=report["run"], confirmed=True)
    assert (repair["ended"], repair["counts"]["nominated"]) == ("nominated", 3)
    deployment.mapping.drain()

    assert execute(deployment)["ended"] == "equal"
    assert replicas.blob(f"{BUCKET}/damaged").download_as_bytes() == b"damaged"


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"status": 403}, r"destination_forbidden: .*storage\.objects\.list"),
        ({"status": 404}, r"destination_bucket_not_found: .*GcsBucketName|GCS_BUCKET_NAME"),
    ],
)
def test_execution_that_may_not_list_fails_with_side_and_permission_in_its_cause(
    cloud: LocalCloud, deployment: Deployment, fault: dict[str, int], cause: str
) -> None:
    cloud.google.add_fault(operation="objects.list", times=100, **fault)

    failed = execute(deployment)

    cloud.google.clear_faults()
    assert (failed["status"], failed["error"]) == ("FAILED", "PermanentError")
    assert re.search(cause, failed["cause"])
