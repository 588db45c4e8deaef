"""A run of the reconcile: its request, its plan, and its files in the reports bucket."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from replicate.errors import InvalidRequestError
from replicate.reconcile.ports import Reports

JSON = "application/json"
CSV = "text/csv; charset=utf-8"

GRACE_MINUTES = 15
"""Lambda's own retries of a failed event take three minutes already."""

MAX_SHARE = 0.01
"""The safety valve: the largest share of the objects that a repair changes without confirmation.

Chosen, not measured: an outage costs fewer, and a wrong bucket or prefix differs in nearly all.
"""

MAX_DIFFERENCES = 100_000
"""The same in objects, for buckets of which one in a hundred is very many. Chosen, too."""


class Mode(StrEnum):
    """What a run may do."""

    REPORT = "report"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The input of an execution. Everything has a default."""

    mode: Mode = Mode.REPORT
    bucket: str = ""
    """The source bucket. Empty: the only one."""
    prefix: str = ""
    from_run: str = ""
    """The run whose differences are nominated, without another comparison."""
    confirmed: bool = False
    """Whether the safety valve is open."""
    grace_minutes: int = GRACE_MINUTES
    max_share: float = MAX_SHARE
    max_differences: int = MAX_DIFFERENCES

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> Self:
        """Read the input of an execution. Raise InvalidRequestError."""
        defaults = asdict(cls())
        values: dict[str, Any] = {n: event.get(n, default) for n, default in defaults.items()}
        if problem := _problem(values, defaults):
            raise InvalidRequestError(
                f"The input of the reconcile is wrong: {problem}. It may have mode (report or"
                " repair), bucket, prefix, from_run, confirmed, grace_minutes, max_share and"
                " max_differences."
            )
        return cls(**{**values, "mode": Mode(values["mode"])})


def _problem(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the values of a request; None if nothing is."""
    for name, default in defaults.items():
        value = values[name]
        wanted = {bool: (bool,), float: (int, float), int: (int,)}.get(type(default), (str,))
        is_flag = isinstance(value, bool)
        if not isinstance(value, wanted) or is_flag != isinstance(default, bool):
            return f"{name} is {value!r}"
        if not is_flag and isinstance(value, (int, float)) and value < 0:
            return f"{name} is negative"
    if values["mode"] not in [*Mode]:
        return f"mode is {values['mode']!r}"
    if values["from_run"] and values["mode"] != Mode.REPAIR:
        return "from_run is only for mode repair"
    return None


def run_id(started_at: str, execution: str) -> str:
    """Return the ID of the run of an execution. IDs sort by time.

    `started_at` is the execution's start in RFC 3339, `execution` its name.
    """
    start = datetime.fromisoformat(started_at).astimezone(UTC)
    return f"{start:%Y%m%dT%H%M%SZ}-{execution[-8:]}"


@dataclass(frozen=True, slots=True)
class Shard:
    """The keys after `after`, up to and including `to`. None: up to the last key."""

    after: str
    to: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePlan:
    """What the workers of a run share. It is written once."""

    run: str
    request: Request
    started_at: str
    bucket: str
    prefix: str
    """The prefix of the request, or the longer one that all replicated keys have."""
    shards: tuple[Shard, ...]
    expected_objects: int | None
    """How many the last complete run found; None if there was none."""

    @property
    def cutoff(self) -> datetime:
        """The time from which on changes are young."""
        grace = timedelta(minutes=self.request.grace_minutes)
        return datetime.fromisoformat(self.started_at) - grace

    @property
    def is_complete(self) -> bool:
        """Whether the run looks at all keys itself."""
        return not (self.request.prefix or self.request.from_run)

    @property
    def compared_by(self) -> str:
        """The run whose files have the differences."""
        return self.request.from_run or self.run

    def as_json(self) -> dict[str, Any]:
        """Return all fields, for the file that `Files.plan` reads."""
        return asdict(self) | {
            "mode": str(self.request.mode),
            "shards": [[shard.after, shard.to] for shard in self.shards],
        }


class Files:
    """The files of one run."""

    def __init__(self, reports: Reports, run: str) -> None:
        self._reports = reports
        self.prefix = f"runs/{run}/"
        self._run = run

    def plan(self) -> ReconcilePlan:
        """Read the plan. Raise InvalidRequestError if there is no such run."""
        found = self.read("plan.json")
        if found is None:
            raise InvalidRequestError(
                f"There is no run {self._run} in s3://{self._reports.bucket}: reports are kept for"
                " 90 days. Start a run without from_run."
            )
        return ReconcilePlan(
            run=found["run"],
            request=Request.parse(found["request"]),
            started_at=found["started_at"],
            bucket=found["bucket"],
            prefix=found["prefix"],
            shards=tuple(Shard(after, to) for after, to in found["shards"]),
            expected_objects=found["expected_objects"],
        )

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a JSON file; None if there is none."""
        return read_json(self._reports, self.prefix + name)

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file. It replaces one of the same name."""
        write_json(self._reports, self.prefix + name, value)

    def read_piece(self, shard: int, number: int, *, in_source: bool) -> bytes:
        """Return a part of the differences of a shard. Raise InvalidRequestError if it is gone.

        `in_source` says whether the objects are in S3.
        """
        name = self._piece(shard, number, in_source=in_source)
        data = self._reports.read(name)
        if data is None:
            raise InvalidRequestError(
                f"s3://{self._reports.bucket}/{name} is gone. Start a new run."
            )
        return data

    def write_piece(self, shard: int, number: int, data: bytes, *, in_source: bool) -> None:
        """Write a part of the differences of a shard as CSV."""
        self._reports.write(self._piece(shard, number, in_source=in_source), data, CSV)

    def _piece(self, shard: int, number: int, *, in_source: bool) -> str:
        side = "" if in_source else "gcs-"
        return f"{self.prefix}differences/{shard:04}-{side}{number:03}.csv"


def boundaries_file(bucket: str) -> str:
    """Return the name of the file of keys that divide a source bucket."""
    return f"state/{bucket}/boundaries.json"


def last_report_file(bucket: str) -> str:
    """Return the name of the file that says what the last complete report found."""
    return f"state/{bucket}/last-report.json"


def shard_file(number: int) -> str:
    """Return the name of the file that holds the state of a shard."""
    return f"shards/{number:04}.json"


def nomination_file(number: int) -> str:
    """Return the name of the file that says which differences of a shard are nominated."""
    return f"nominations/{number:04}.json"


def read_json(reports: Reports, name: str) -> dict[str, Any] | None:
    """Return a JSON file of the bucket; None if there is none."""
    data = reports.read(name)
    found: dict[str, Any] | None = None if data is None else json.loads(data)
    return found


def write_json(reports: Reports, name: str, value: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    reports.write(name, json.dumps(value, ensure_ascii=False).encode(), JSON)
