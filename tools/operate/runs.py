"""Runs of the reconcile: the workflow that makes them, and what it writes into the reports bucket.

runs/<run>/plan.json, shards/0007.json, nominations/0007.json, summary.json, report.html, …
"""

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from tools.operate.errors import OperatorError
from tools.operate.stack import Stack

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_stepfunctions import SFNClient

Json = Mapping[str, Any]

SIGNED_LINKS = Config(signature_version="s3v4")
"""Old regions would get links of an older kind, which do not open encrypted objects."""

SUFFIX = 8
"""Characters that the ID of a run and the name of its execution have in common, at their ends."""

READ_SUMMARIES = 10
"""Newest runs among which one that has ended is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """The state machine of a stack that compares both sides. Build it with `workflow`."""

    sfn: "SFNClient"
    s3: "S3Client"
    machine: str
    bucket: str

    def start(self, asked: Json) -> "Run":
        """Start an execution with this input."""
        suffix = uuid.uuid4().hex[:SUFFIX]
        started = self.sfn.start_execution(
            stateMachineArn=self.machine, name=f"{asked['mode']}-{suffix}", input=json.dumps(asked)
        )
        return Run(
            workflow=self,
            execution=started["executionArn"],
            id=f"{started['startDate'].astimezone(UTC):%Y%m%dT%H%M%SZ}-{suffix}",
            stage="nominations" if asked.get("from_run") else "shards",
        )

    def read(self, key: str) -> Json | None:
        """Read a JSON document; None if there is none yet."""
        try:
            found = self.s3.get_object(Bucket=self.bucket, Key=key)
        except self.s3.exceptions.NoSuchKey:
            return None
        document: Json = json.loads(found["Body"].read())
        return document

    def last_summary(self) -> Json | None:
        """Return the summary of the newest run that has ended."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix="runs/", Delimiter="/"
        )
        runs = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])]
        newest = sorted(runs, reverse=True)[:READ_SUMMARIES]
        return next(filter(None, (self.read(f"{run}summary.json") for run in newest)), None)


def workflow(stack: Stack) -> Workflow:
    """Return the workflow of a stack. Raise OperatorError if the stack has none."""
    if "ReconcileMachineArn" not in stack.outputs:
        raise OperatorError(
            f"The stack {stack.name} cannot compare both sides: it is of an older version. Run"
            " make deploy, then make reconcile again."
        )
    client = stack.session.client
    return Workflow(
        sfn=client("stepfunctions"),
        s3=client("s3", config=SIGNED_LINKS),
        machine=stack.output("ReconcileMachineArn"),
        bucket=stack.output("ReportsBucketName"),
    )


@dataclass(slots=True, kw_only=True)
class Run:
    """One execution, and what it has written so far."""

    workflow: Workflow
    execution: str
    """Its ARN."""
    id: str
    stage: str
    """The folder where each shard says how far it is: `shards` or `nominations`."""
    plan: Json = field(default_factory=dict)
    """What the run does; empty until it has written it."""
    counts: Counter[str] = field(default_factory=Counter)
    """Sums over all shards."""
    done: int = 0
    """Shards that have ended."""
    _read: dict[str, tuple[str, Json]] = field(default_factory=dict)
    """Each shard's ETag and document, by key."""

    def end(self) -> Json | None:
        """Return the output; None while the run goes on. Raise OperatorError if it failed."""
        found = self.workflow.sfn.describe_execution(executionArn=self.execution)
        if found["status"] == "RUNNING":
            return None
        if found["status"] != "SUCCEEDED":
            reason = _sentence(found.get("cause", "")) or found.get("error") or found["status"]
            raise OperatorError(f"The reconcile did not end: {reason}")
        output: Json = json.loads(found["output"])
        self.id = output["run"]
        return output

    def summary(self) -> Json:
        """Return the summary of a run that has ended."""
        key = f"runs/{self.id}/summary.json"
        if found := self.workflow.read(key):
            return found
        raise OperatorError(f"s3://{self.workflow.bucket}/{key} does not exist.")

    def look(self) -> None:
        """Read the progress."""
        place = f"runs/{self.id}/"
        self.plan = self.plan or self.workflow.read(f"{place}plan.json") or {}
        pages = self.workflow.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.workflow.bucket, Prefix=f"{place}{self.stage}/"
        )
        for entry in (each for page in pages for each in page.get("Contents", [])):
            key, etag = entry["Key"], entry["ETag"]
            if self._read.get(key, ("",))[0] != etag and (shard := self.workflow.read(key)):
                self._read[key] = etag, shard
        shards = [shard for _, shard in self._read.values()]
        self.done = sum(shard["done"] for shard in shards)
        self.counts = Counter()
        for shard in shards:
            self.counts.update(shard.get("counts") or {"nominated": shard["nominated"]})


def _sentence(cause: str) -> str:
    """Return the text of an error of the function inside the cause of a failed execution."""
    try:
        found = json.loads(cause)
    except ValueError:
        return cause
    return str(found.get("errorMessage", cause)) if isinstance(found, dict) else cause
