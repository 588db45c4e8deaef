"""Compare both sides of a stack, show the differences, and repair them if asked."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tools.common.tables import size
from tools.operate.errors import OperatorError
from tools.operate.runs import DIFFERENCES, Json, Run, Workflow

POLL_S = 2.0
LINK_S = 3600
"""The link to the report is valid for so long."""
MEANINGS = {
    "missing": "in S3 only",
    "different": "the replica is of another version",
    "extra": "a replica whose source is gone",
    "foreign": "an object in GCS that is no replica",
}


def reconcile(
    workflow: Workflow,
    console: Console,
    prefix: str,
    *,
    repair: bool,
    confirm: Callable[[str], bool] | None,
) -> bool:
    """Compare both sides, and return whether they are equal or every difference is being repaired.

    With `repair`, ask `confirm` and then repair what the comparison has found. Without a `confirm`,
    repair at once, and leave the decision about too many differences to the workflow.
    """
    asked: dict[str, object] = {"mode": "report", "prefix": prefix}
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
    left = _differences(repair) - repair["counts"].get("nominated", 0)
    if left > 0:
        console.print(
            f"{left:,} of the differences {'is' if left == 1 else 'are'} not repaired: foreign"
            " objects stay, and extra replicas are deleted only where all deletes are replicated."
        )
    return bool(left <= 0)


def _run(workflow: Workflow, console: Console, asked: Json) -> Json:
    """Start a run, show its progress and its result. Return its summary."""
    run = workflow.start(asked)
    try:
        _watch(run, console)
    except KeyboardInterrupt:
        console.print(f"The execution goes on without you: {run.execution}", soft_wrap=True)
        raise
    summary = run.summary()
    if not summary["counts"].get("compared") and asked["prefix"]:
        raise OperatorError(
            f"Neither side has an object whose key begins with {asked['prefix']!r}."
        )
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
            compared = run.counts["compared"]
            rate = compared / (time.monotonic() - started)
            bar.update(
                task,
                description=f"ranges {run.done}/{run.shards}",
                total=run.expected or run.shards or None,
                completed=compared if run.expected else run.done,
                found=f"{compared:,} objects, {rate:,.0f}/s, {run.differences:,} differences",
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
    for kind in DIFFERENCES:
        table.add_row(kind, f"{counts.get(kind, 0):,}", MEANINGS[kind])
    apart = ("young", "filtered", "archived", "unnameable", "staged")
    if left_out := [f"{counts[kind]:,} {kind}" for kind in apart if counts.get(kind)]:
        table.add_row("not compared", "", ", ".join(left_out))
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
    return (
        f"Repair {_differences(report):,} differences? {copies:,} objects with"
        f" {size(counts.get('difference_bytes', 0))} are copied, for about"
        f" ${cost['total_usd']:,.2f} (egress ${cost['egress_usd']:,.2f})"
    )


def _differences(summary: Json) -> int:
    return sum(summary["counts"].get(kind, 0) for kind in DIFFERENCES)
