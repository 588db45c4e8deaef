"""Compare both sides of a stack, show the differences, and repair them if asked."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tools.common.tables import size
from tools.operate.runs import Json, Run, Workflow

POLL_S = 2.0
LINK_S = 3600
"""The link to the report is valid for so long."""
MEANINGS = {
    "missing": "in S3 only",
    "different": "the replica is of another version",
    "extra": "a replica whose source is gone",
    "foreign": "an object in GCS that is no replica: it stays",
}
"""Of these counts, those with differences. Extra replicas are some only where all deletes are
replicated, and foreign objects never are."""


def reconcile(
    workflow: Workflow,
    console: Console,
    request: Json,
    *,
    repair: bool,
    confirm: Callable[[str], bool] | None,
) -> bool:
    """Compare both sides, and return whether they are equal or every difference is being repaired.

    `request` has more of the execution's input: `prefix`, `grace_minutes`. With `repair`, ask
    `confirm` and then repair what the comparison has found. Without a `confirm`, repair at once,
    and leave the decision about too many differences to the workflow.
    """
    asked = {"mode": "report", **request}
    report = _run(workflow, console, asked)
    if report["ended"] == "equal":
        return True
    if not repair:
        console.print("To repair this: make reconcile with REPAIR=1.")
        return False
    if confirm and not confirm(_question(report)):
        return False
    asked |= {"mode": "repair", "from_run": report["run"], "confirmed": confirm is not None}
    return _is_complete(_run(workflow, console, asked), console)


def _is_complete(repair: Json, console: Console) -> bool:
    """Say what is left to do after a repair. Return whether every difference is in work."""
    if repair["ended"] == "too_many_differences":
        console.print("Nothing is repaired. Run it without YES=1 to decide about it.")
        return False
    console.print(
        "The differences are in the event queue. When make status shows no more waiting events, run"
        " make reconcile again."
    )
    return True


def _run(workflow: Workflow, console: Console, asked: Json) -> Json:
    """Start a run, show its progress and its result. Return its summary."""
    run = workflow.start(asked)
    try:
        _watch(run, console)
    except KeyboardInterrupt:
        console.print(f"The execution continues in AWS: {run.execution}", soft_wrap=True)
        raise
    summary = run.summary()
    console.print(_table(summary))
    if valve := summary.get("valve"):
        console.print(Text(valve))
    _print_links(run, console)
    return summary


def _watch(run: Run, console: Console) -> None:
    """Show the progress until the run has ended."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[found]}"),
        TimeElapsedColumn(),
    )
    started = time.monotonic()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=None, found="")
        while run.end() is None:
            run.look()
            shards, expected = len(run.plan.get("shards", [])), run.plan.get("expected_objects")
            compared = run.counts["compared"]
            found = [f"{run.counts[kind]:,} {kind}" for kind in MEANINGS if run.counts[kind]]
            if run.stage == "shards":
                rate = compared / (time.monotonic() - started)
                found = [f"{compared:,} objects, {rate:,.0f}/s", *found]
            else:
                found = [f"{run.counts['nominated']:,} nominated"]
            bar.update(
                task,
                description=f"shards {run.done}/{shards}",
                total=expected or shards or None,
                completed=compared if expected else run.done,
                found=", ".join(found),
            )
            time.sleep(POLL_S)


def _table(summary: Json) -> Table:
    counts = summary["counts"]
    table = Table(title=f"{summary['source']} → {summary['destination']}: {summary['ended']}")
    table.add_column("", no_wrap=True)
    table.add_column("objects", justify="right", no_wrap=True)
    table.add_column("meaning", overflow="fold")
    table.add_row("compared", f"{counts.get('compared', 0):,}", "")
    table.add_row("equal", f"{counts.get('equal', 0):,}", "")
    for kind, meaning in MEANINGS.items():
        table.add_row(kind, f"{counts.get(kind, 0):,}", meaning)
    apart = ("young", "filtered", "archived", "unnameable", "too_large", "kept", "staged")
    if left_out := [f"{counts[kind]:,} {kind}" for kind in apart if counts.get(kind)]:
        table.add_row("left alone", "", ", ".join(left_out))
    for sample in summary.get("samples", [])[:5]:
        why = f"{sample['key']}: {', '.join(sample['what'])}"
        table.add_row(f"[dim]{sample['kind']}[/]", "", Text(why, style="dim"))
    return table


def _print_links(run: Run, console: Console) -> None:
    """Say where the report is. A signed link is for a person's terminal, and not for a log."""
    place, s3 = f"runs/{run.id}/", run.workflow.s3
    lines = [f"s3://{run.workflow.bucket}/{place}"]
    if console.is_terminal:
        report = {"Bucket": run.workflow.bucket, "Key": f"{place}report.html"}
        link = s3.generate_presigned_url("get_object", Params=report, ExpiresIn=LINK_S)
        lines.append(f"The report, for an hour: {link}")
    region = run.workflow.sfn.meta.region_name
    lines.append(
        f"https://{region}.console.aws.amazon.com/states/home?region={region}"
        f"#/v2/executions/details/{run.execution}"
    )
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _question(report: Json) -> str:
    counts, cost = report["counts"], report["cost"]
    copies = counts.get("missing", 0) + counts.get("different", 0)
    deletes = counts.get("extra", 0) if report["replicates_all_deletes"] else 0
    return (
        f"Repair {report['differences']:,} differences? {copies:,} objects with"
        f" {size(counts.get('difference_bytes', 0))} are copied and {deletes:,} replicas deleted,"
        f" for about ${cost['total_usd']:,.2f} (egress ${cost['egress_usd']:,.2f})"
    )
