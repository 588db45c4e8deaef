"""Compares both sides in two independent ways, and looks for what the run left behind."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.common import processes, rclone
from tools.common.reconciling import Report
from tools.local.audit import Pair, audit
from tools.local.aws import REGION
from tools.local.cloud import REPLICA
from tools.local.notifications import Json
from tools.soak.cloud import RETRY_DELAYS_S, SOURCE, STAGING, SoakCloud
from tools.soak.keys import BEYOND_RCLONE
from tools.soak.stats import RunStats

MOST_NAMED = 20
"""Problems of one kind that the report names."""


class RcloneError(Exception):
    """rclone failed for another reason than a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one way to compare both sides found: numbers of objects, and those not equal."""

    method: str
    compared: int
    missing: int
    different: int
    extra: int
    unequal: Sequence[str]

    def problems(self) -> list[str]:
        """Return what is not equal. To have compared nothing is a problem, too."""
        if not self.compared:
            return [f"{self.method}: compared nothing"]
        return [f"{self.method}: {each}" for each in self.unequal[:MOST_NAMED]]


@dataclass(frozen=True, slots=True)
class Findings:
    """The comparisons, the upload sessions left open, and everything that is wrong."""

    comparisons: Sequence[Comparison]
    open_sessions: int
    unexpected_sessions: int
    parts_left: int
    """Parts of versions that were overwritten while they were copied: the lifecycle rule's work."""
    problems: Sequence[str]


def compare(
    cloud: SoakCloud,
    stats: RunStats,
    expected_keys: set[str],
    faults: Sequence[Json],
    undelivered: Sequence[str],
    reconciled: Report,
) -> Findings:
    """Compare S3 with GCS; also S3 with the plan, and the open sessions with the faults.

    `undelivered` are the keys of the events that still fail.
    """
    both = audit(cloud.aws.s3, [SOURCE], cloud.google.bucket)
    pairs = [pair for pair in both if not pair.name.startswith(STAGING)]
    by_rclone = compare_by_rclone(cloud)
    comparisons = [by_rclone, compare_by_audit(pairs), compare_by_reconcile(reconciled)]
    differing = sorted({pair.name for pair in pairs if pair.source} ^ expected_keys)
    sessions = Counter(
        name for name in cloud.google.open_sessions() if not name.startswith(STAGING)
    )
    unexpected = sessions - expected_open_sessions(stats.interrupted_keys, faults)
    problems = [
        *(problem for each in comparisons for problem in each.problems()),
        *(f"rclone disagrees with the reconcile: {k}" for k in disagreement(reconciled, by_rclone)),
        *(f"still failing: {key}" for key in undelivered),
        *(f"S3 and the plan differ: {key}" for key in differing[:MOST_NAMED]),
        *(f"visible in GCS, never in S3: {key}" for key in stats.never_in_source[:MOST_NAMED]),
        *(f"{count} upload session(s) left open: {key}" for key, count in unexpected.items()),
        *untested_outages(stats),
    ]
    left = len(both) - len(pairs)
    return Findings(comparisons, sessions.total(), unexpected.total(), left, problems)


def untested_outages(stats: RunStats) -> list[str]:
    """Return a problem if an outage outlasted Lambda's retries, and no event came to the queue."""
    retries_s = sum(RETRY_DELAYS_S)
    longest_s = max((each.end - each.start for each in stats.outages), default=0.0)
    if longest_s <= retries_s or stats.counts["handed to the event queue"]:
        return []
    return [f"no event outlasted Lambda's retries ({retries_s:g} s) in {longest_s:.0f} s of outage"]


def compare_by_rclone(cloud: SoakCloud) -> Comparison:
    """Let rclone download and compare both sides. Raises RcloneError."""
    report = cloud.folder / "rclone-check.txt"
    done = subprocess.run(  # noqa: S603 - our own command
        [
            *(rclone.COMMAND, "check", "--download", "--checkers", "4"),
            *("--exclude", f"/{BEYOND_RCLONE}/**", "--exclude", f"/{STAGING}**"),
            *("--combined", report),
            *(f"s3:{SOURCE}", f"gcs:{REPLICA}"),
        ],
        env={
            **processes.plain_environment(),
            **cloud.aws.environment,
            **rclone.remotes(
                s3_url=cloud.aws.endpoint_url,
                region=REGION,
                gcs_url=cloud.google.url,
                key=json.dumps(cloud.google.key),
            ),
            "HOME": str(cloud.folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return parse_rclone(report, done.stderr, success=done.returncode == 0)


def parse_rclone(report: Path, errors: str, *, success: bool) -> Comparison:
    """Parse the list that `--combined` writes: a mark and a name in each line.

    Raises RcloneError when the list and the exit code do not agree.
    """
    lines = report.read_text().splitlines() if report.exists() else []
    unequal = [line for line in lines if not line.startswith("=")]
    if success == bool(unequal):
        raise RcloneError(f"rclone check: {errors}")
    marks = Counter(line[0] for line in lines)
    return Comparison(
        method=f"{rclone.version()} check --download",
        compared=marks.total(),
        missing=marks["+"],
        different=marks["*"] + marks["!"],
        extra=marks["-"],
        unequal=unequal,
    )


def compare_by_audit(pairs: Sequence[Pair]) -> Comparison:
    """Count what our own audit downloaded."""
    missing = [pair for pair in pairs if not pair.replica]
    extra = [pair for pair in pairs if not pair.source]
    different = [pair for pair in pairs if pair.source and pair.replica and not pair.equal]
    return Comparison(
        method="boto3 and google-cloud-storage: bytes by CRC32C, type, metadata",
        compared=len(pairs),
        missing=len(missing),
        different=len(different),
        extra=len(extra),
        unequal=[repr(pair) for pair in (*missing, *extra, *different)],
    )


def compare_by_reconcile(found: Report) -> Comparison:
    """Count what the function's own reconcile found in the listings."""
    counts = found.counts
    return Comparison(
        method="the reconcile: size, ETag and time in the listings",
        compared=counts["compared"],
        missing=counts["missing"],
        different=counts["different"],
        extra=counts["extra"],
        unequal=[f"{kind} {key}" for key, kind in found.differences.items()],
    )


def disagreement(found: Report, by_rclone: Comparison) -> list[str]:
    """Return the keys that only one of both calls unequal. A line of rclone begins with a mark."""
    ours = {key for key in found.differences if not key.startswith(f"{BEYOND_RCLONE}/")}
    return sorted(ours ^ {line[2:] for line in by_rclone.unequal})[:MOST_NAMED]


def expected_open_sessions(interrupted_keys: Counter[str], faults: Iterable[Json]) -> Counter[str]:
    """Return how many sessions of a key may be open because the function could not cancel them.

    It cannot when its process is killed, when the response that names the session is lost, and
    when the request to cancel fails.
    """
    expected = Counter(interrupted_keys)
    for fault in faults:
        operation, lost = fault["operation"], fault["kind"].startswith("response")
        if operation == "upload.cancel" or (operation == "upload.start" and lost):
            expected[fault["name"]] += 1
    return expected
