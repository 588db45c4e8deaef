"""A reconcile without its state machine, and the report that every reconcile leaves."""

import csv
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run found: counts, the kind of each key that differs, and the page for people."""

    ended: str
    counts: Mapping[str, int]
    differences: Mapping[str, str]
    html: bytes

    @classmethod
    def read(cls, s3: "S3Client", output: Json) -> Self:
        """Read the files that the output of an execution names."""

        def file(name: str) -> bytes:
            key = output["prefix"] + name
            return s3.get_object(Bucket=output["bucket"], Key=key)["Body"].read()

        lines = file("differences.csv") + file("differences-gcs.csv")
        rows = csv.reader(lines.decode().splitlines())
        return cls(
            ended=output["ended"],
            counts=output["counts"],
            differences={unquote(key): kind for _, key, kind, *_ in rows},
            html=file("report.html"),
        )


def reconcile(invoke: Callable[[Json], Json], **request: object) -> Json:
    """Run all steps by invoking the function; return what an execution returns.

    `request` is the input of an execution.
    """
    plan = {"reconcile": "plan", "execution": uuid.uuid4().hex, "input": request}
    planned = invoke({**plan, "started_at": datetime.now(UTC).isoformat()})
    _each(invoke, "compare", planned["run"], planned["shards"])
    total = invoke({"reconcile": "total", "run": planned["run"]})
    if total["nominates"]:
        _each(invoke, "nominate", planned["run"], total["shards"])
    return invoke({"reconcile": "report", "run": planned["run"]})


def _each(invoke: Callable[[Json], Json], step: str, run: str, shards: list[int]) -> None:
    for shard in shards:
        while not invoke({"reconcile": step, "run": run, "shard": shard})["done"]:
            pass
