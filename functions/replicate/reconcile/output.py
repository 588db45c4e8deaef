"""What a run leaves in the reports bucket: for people, and for the next run."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from replicate.reconcile import runs
from replicate.reconcile.page import page
from replicate.reconcile.ports import Reports
from replicate.reconcile.report import Outcome, summary
from replicate.reconcile.runs import CSV, Files, Mode, ReconcilePlan
from replicate.reconcile.tally import ShardState

MAX_LINES = 10_000_000
"""Of differences.csv. The others stay in their pieces. Nobody reads so many, and a repair needs no
file of them. Chosen, not measured."""


def write(
    reports: Reports,
    plan: ReconcilePlan,
    states: Sequence[ShardState],
    outcome: Outcome,
    *,
    destination: str,
    replicates_all_deletes: bool,
) -> None:
    """Write the report as JSON, CSV and HTML."""
    files = Files(reports, plan.run)
    described = summary(
        plan,
        states,
        outcome,
        destination=destination,
        ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
        replicates_all_deletes=replicates_all_deletes,
    )
    for name, in_source in (("differences.csv", True), ("differences-gcs.csv", False)):
        lines = _lines(Files(reports, plan.compared_by), states, in_source=in_source)
        reports.write_stream(files.prefix + name, lines, CSV)
    reports.write(files.prefix + "report.html", page(described).encode(), "text/html")
    files.write("summary.json", described)


def remember(
    reports: Reports, plan: ReconcilePlan, states: Sequence[ShardState], outcome: Outcome
) -> int | None:
    """Store what the next complete run needs of this one.

    Return the differences of a report, if the report before it found some, too; else 0. A repair
    proves nothing about the time after it: None.
    """
    keys = [mark for state in states for mark in state.marks]
    objects = outcome.counts["compared"]
    boundaries = {"run": plan.run, "objects": objects, "keys": keys}
    runs.write_json(reports, runs.boundaries_file(plan.bucket), boundaries)
    if plan.request.mode is Mode.REPAIR:
        return None
    name = runs.last_report_file(plan.bucket)
    last = runs.read_json(reports, name) or {"run": "", "differences": 0, "repeated": 0}
    if last["run"] == plan.run:  # this step was repeated
        return int(last["repeated"])
    repeated = outcome.differences if last["differences"] else 0
    new = {"run": plan.run, "differences": outcome.differences, "repeated": repeated}
    runs.write_json(reports, name, new)
    return repeated


def _lines(files: Files, states: Sequence[ShardState], *, in_source: bool) -> Iterator[bytes]:
    """Yield the lines of all shards whose objects are in S3, or are not."""
    left = MAX_LINES
    for state in states:
        for number in range(state.pieces if in_source else state.gcs_pieces):
            piece = files.read_piece(state.shard, number, in_source=in_source)
            lines = piece.splitlines(keepends=True)[:left]
            left -= len(lines)
            yield b"".join(lines)
            if not left:
                return
