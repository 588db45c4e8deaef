"""Large objects: copied by executions of the state machine, in slices, by several runtimes.

An object of 1 MiB is large here, in parts of 64 KiB and slices of 256 KiB; an object of 256 KiB is
medium, which one invocation copies in parts.
"""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from waiting import wait_until

from tools.common import http
from tools.local.api_gateway import ApiGateway
from tools.local.cloud import LocalCloud
from tools.local.demo_context import FOREVER, random_bytes
from tools.local.deployment import Deployment, deployed
from tools.local.event_source_mapping import Batch
from tools.local.large_objects import LargeObjects

KIB = 1024
PART = 64 * KIB
SLICES, PARTS = 8, 32
LARGE, MEDIUM = PARTS * PART, 14 * PART
STAGING = ".s3-to-gcs-replicator/staging/"
AN_HOUR = {"Retry-After": "3600"}
"""Longer than an invocation: the function fails at once, and the state machine retries."""


@dataclass(slots=True)
class Copying:
    """One key of a deployed template, and what happens to it."""

    cloud: LocalCloud
    deployment: Deployment
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    gets_before: int = 0

    @property
    def name(self) -> str:
        return f"{self.deployment.bucket}/{self.key}"

    def put(self, seed: str, size: int = LARGE) -> bytes:
        data = random_bytes(seed, size)
        self.cloud.aws.s3.put_object(Bucket=self.deployment.bucket, Key=self.key, Body=data)
        return data

    def delete(self) -> None:
        self.cloud.aws.s3.delete_object(Bucket=self.deployment.bucket, Key=self.key)

    def poll(self) -> Batch:
        """Invoke the function with the next message of the event queue."""
        batches: list[Batch] = []

        def poll() -> bool:
            batch = self.deployment.mapping.poll()
            if batch:
                batches.append(batch)
            return bool(batches)

        wait_until(poll, "a message in the event queue")
        return batches[0]

    def finish(self) -> None:
        """Deliver messages until none is left. Those that watch an execution come again."""
        self.deployment.settle()

        def is_done() -> bool:
            while self.deployment.mapping.poll():
                pass
            return self.deployment.waiting() == 0

        wait_until(is_done, "an empty event queue")

    def replica(self) -> bytes | None:
        blob = self.cloud.google.bucket.get_blob(self.name)
        return blob.download_as_bytes() if blob else None

    def staged(self) -> dict[str, int]:
        """Return the sizes of the staged objects."""
        blobs = self.cloud.google.bucket.client.list_blobs("replica", prefix=STAGING)
        return {blob.name: blob.size for blob in blobs}

    def staged_bytes(self) -> int:
        return sum(self.staged().values())

    def executions(self) -> list[str]:
        """Return how the executions ended, the oldest first."""
        found = self.cloud.aws.step_functions.list_executions(
            stateMachineArn=self.deployment.state_machine
        )["executions"]
        return [each["status"] for each in sorted(found, key=lambda each: each["startDate"])]

    def stop_execution(self) -> None:
        """Stop the execution that runs, once it has a plan; wait for the end of its slices."""
        client = self.cloud.aws.step_functions
        wait_until(lambda: self.executions()[-1] == "RUNNING", "a running execution")
        (running,) = client.list_executions(
            stateMachineArn=self.deployment.state_machine, statusFilter="RUNNING"
        )["executions"]
        arn = running["executionArn"]

        def has_plan() -> bool:
            events = client.get_execution_history(executionArn=arn)["events"]
            return "LambdaFunctionSucceeded" in {event["type"] for event in events}

        wait_until(has_plan, "a plan")
        client.stop_execution(executionArn=arn)
        wait_until(lambda: self.executions()[-1] != "RUNNING", "a stopped execution")
        wait_until(self.is_idle, "the end of all slices")

    def is_idle(self) -> bool:
        """Whether no invocation waits or is in progress."""
        is_busy = any(runtime.is_busy() for runtime in self.deployment.runtimes)
        return not is_busy and not self.deployment.service.backlog()

    def errors(self, text: str) -> list[str]:
        """Return the lines of the functions' logs that name this key and contain a text."""
        lines = (
            line
            for runtime in self.deployment.runtimes
            for line in runtime.log.read_text().splitlines()
        )
        return [line for line in lines if self.key in line and text in line]

    def gets(self) -> int:
        """Count the GETs of the object, one for each part, since `gets_before` was set."""
        path = f"GET /{self.deployment.bucket}/{self.key}"
        return self.cloud.aws.requests().count(path) - self.gets_before

    def stall_a_part(self, seconds: float, skip: int = 0) -> None:
        """Let GCS take so long to refuse one part, after `skip` others."""
        self.cloud.google.add_fault(
            operation="objects.insert", stall=seconds, status=503, skip=skip
        )

    def refuse_parts(self, skip: int) -> None:
        """Let GCS be unavailable for all parts after so many."""
        self.cloud.google.add_fault(
            operation="objects.insert", skip=skip, times=FOREVER, status=503, headers=AN_HOUR
        )

    def kill_functions(self) -> None:
        """Kill the processes of all runtimes, with SIGKILL."""
        for runtime in self.deployment.runtimes:
            if process := runtime.process():
                process.kill()


def deploy(cloud: LocalCloud, delivery: str, runtimes: int) -> Iterator[Deployment]:
    bucket = f"large-{delivery}"
    with deployed(
        cloud,
        bucket,
        LargeObjects(runtimes=runtimes),
        Delivery=delivery,
        GcsKeyPrefix=f"{bucket}/",
        ReplicateDeletes="true",
    ) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def queue(cloud: LocalCloud) -> Iterator[Deployment]:
    yield from deploy(cloud, "queue", runtimes=3)


@pytest.fixture(scope="module")
def direct(cloud: LocalCloud) -> Iterator[Deployment]:
    yield from deploy(cloud, "direct", runtimes=2)


@pytest.fixture
def copying(cloud: LocalCloud, queue: Deployment) -> Iterator[Copying]:
    """Return a new key whose events wait in the queue. Nothing staged may be left of it."""
    queue.mapping.drain()  # S3's test event
    copying = Copying(cloud, queue)
    yield copying
    staged = copying.staged()
    cloud.google.clear_faults()
    copying.delete()
    queue.redrive()
    copying.finish()
    assert staged == {}


def test_an_execution_copies_a_large_object(copying: Copying) -> None:
    data, executions = copying.put("a"), len(copying.executions())
    copying.finish()
    assert copying.replica() == data
    assert copying.gets() == PARTS
    assert copying.executions()[executions:] == ["SUCCEEDED"]
    assert copying.deployment.failed() == 0


def test_an_execution_copies_a_large_object_of_a_direct_event(
    cloud: LocalCloud, direct: Deployment
) -> None:
    copying = Copying(cloud, direct)
    data = copying.put("a")
    direct.settle()
    (result,) = direct.service.deliveries[-1].results
    assert (result["status"], result["reason"]) == ("in_progress", "started")
    assert direct.waiting() == 1
    copying.finish()
    assert (copying.replica(), copying.staged()) == (data, {})
    assert copying.executions() == ["SUCCEEDED"]


def test_the_watch_returns_while_the_execution_runs(copying: Copying) -> None:
    copying.refuse_parts(skip=12)
    data = copying.put("a")
    copying.poll()
    for _ in range(2):
        (record,) = copying.poll().event["Records"]
        assert "executionWatch" in json.loads(record["body"])
        assert copying.executions()[-1] == "RUNNING"
        assert (copying.deployment.waiting(), copying.deployment.failed()) == (1, 0)
    copying.cloud.google.clear_faults()
    copying.finish()
    assert copying.replica() == data


def test_an_object_overwritten_while_an_execution_copies_it(copying: Copying) -> None:
    copying.stall_a_part(2)
    copying.put("old")
    copying.poll()
    wait_until(lambda: copying.staged_bytes() > 0, "the first part")
    data = copying.put("new")
    copying.finish()
    assert copying.replica() == data


def test_an_object_deleted_while_an_execution_copies_it(copying: Copying) -> None:
    copying.stall_a_part(2)
    copying.put("a")
    copying.poll()
    wait_until(lambda: copying.staged_bytes() > 0, "the first part")
    copying.delete()
    copying.finish()
    assert copying.replica() is None


def test_after_a_stopped_execution_the_next_one_sends_only_what_is_missing(
    copying: Copying,
) -> None:
    executions = len(copying.executions())
    copying.refuse_parts(skip=12)
    data = copying.put("a")
    copying.poll()
    wait_until(lambda: copying.staged_bytes() == 12 * PART, "twelve staged parts")
    copying.stop_execution()
    copying.gets_before = copying.gets()
    copying.cloud.google.clear_faults()
    copying.finish()
    assert copying.replica() == data
    assert copying.gets() == PARTS - 12
    stopped, second = copying.executions()[executions:]
    assert stopped in {"ABORTED", "FAILED"}  # moto: FAILED when it stops a Map
    assert second == "SUCCEEDED"


def test_a_killed_function_sends_only_its_unfinished_part_again(copying: Copying) -> None:
    executions = len(copying.executions())
    copying.stall_a_part(10, skip=12)
    data = copying.put("a")
    copying.poll()
    wait_until(lambda: copying.staged_bytes() == LARGE - PART, "all parts but one")
    copying.gets_before = copying.gets()
    copying.kill_functions()
    copying.finish()
    assert copying.replica() == data
    assert copying.gets() == 1
    assert copying.executions()[executions:] == ["SUCCEEDED"]


def test_a_request_is_202_until_the_execution_has_ended(copying: Copying) -> None:
    copying.stall_a_part(3)
    data = copying.put("a")
    with closing(ApiGateway(copying.deployment.service.invoke)) as api:

        def request() -> tuple[int, str]:
            body = {"s3_bucket": copying.deployment.bucket, "s3_key": copying.key}
            response = http.send("POST", f"{api.url}/v1/replicate", json=body)
            return response.status_code, response.json()["reason"]

        assert request() == (202, "started")
        assert request() == (202, "running")
        wait_until(lambda: copying.executions()[-1] == "SUCCEEDED", "the execution's end")
        assert request() == (200, "current")
    assert copying.replica() == data
    copying.finish()


def test_after_three_stopped_executions_the_event_waits_for_the_next(
    copying: Copying,
) -> None:
    executions = len(copying.executions())
    copying.refuse_parts(skip=0)
    copying.put("a")
    for _ in range(3):
        copying.poll()  # the event, then the watch of the execution before
        copying.stop_execution()
    copying.poll()
    assert len(copying.executions()) == executions + 3
    assert (copying.deployment.waiting(), copying.deployment.failed()) == (1, 0)
    assert copying.errors("3 executions did not copy")


def test_a_permanent_error_fails_one_execution_and_is_named(copying: Copying) -> None:
    executions = len(copying.executions())
    copying.cloud.google.add_fault(operation="objects.insert", times=FOREVER, status=403)
    copying.put("a")
    copying.finish()
    assert copying.executions()[executions:] == ["FAILED"]
    assert (copying.replica(), copying.deployment.failed()) == (None, 1)
    error = copying.errors("1 executions did not copy")[-1]
    assert "PermanentError" in error
    assert "destination_forbidden" in error


def test_a_retry_of_a_medium_object_uses_the_parts_of_a_killed_function(copying: Copying) -> None:
    copying.stall_a_part(10, skip=5)
    data = copying.put("a", MEDIUM)
    with ThreadPoolExecutor() as executor:
        first = executor.submit(copying.poll)
        wait_until(lambda: copying.staged_bytes() == MEDIUM - PART, "all parts but one")
        copying.gets_before = copying.gets()
        copying.kill_functions()
        assert first.result().failed_keys() == {copying.key}
    copying.finish()
    assert copying.replica() == data
    assert copying.gets() == 1
