"""The command line: python -m tools.operate doctor|status|redrive|reconcile STACK."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from tools.common.command import end_on_signals
from tools.operate import doctor as doctors
from tools.operate.errors import OperatorError, explained
from tools.operate.reconcile import reconcile as compare
from tools.operate.redrive import Tally
from tools.operate.redrive import redrive as move
from tools.operate.runs import workflow
from tools.operate.stack import find
from tools.operate.status import status as describe

INTERRUPTED = 130
RATE = 100
"""Events that are redriven in a second: QueueConcurrency, and not this, limits the function."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out = Console(highlight=False)

StackName = Annotated[str, typer.Argument(metavar="STACK", help="Name of the stack.")]


@contextmanager
def command() -> Iterator[None]:
    """Print why a command fails, in a sentence, and exit with its status."""
    try:
        with explained():
            yield
    except OperatorError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def doctor(
    stack: StackName = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    compress: Annotated[bool, typer.Option(help="Try whether GCS accepts compression.")] = False,
) -> None:
    """Check a stack and its function. Exit with 1 if a check fails."""
    with command():
        hops = doctors.examine(find(stack), compress=compress)
        healthy = all(hop["ok"] for hop in hops)
        if as_json:
            print(json.dumps({"healthy": healthy, "hops": hops}, indent=2, ensure_ascii=False))
        else:
            out.print(doctors.table(hops))
        if not healthy:
            raise OperatorError("Not healthy: what failed says what to do.")


@app.command()
def status(stack: StackName = "") -> None:
    """Show lag, backlog, copies of large objects, dead letters and the last reconcile."""
    with command():
        out.print(describe(find(stack)))


@app.command()
def redrive(
    stack: StackName = "",
    *,
    code: Annotated[list[str] | None, typer.Option(help="Only events with this error.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Events in a second.")] = RATE,
    dry_run: Annotated[bool, typer.Option(help="Move nothing, and count.")] = False,
) -> None:
    """Run failed events again: move them from the dead-letter queue to the event queue."""
    with command():
        found = find(stack)
        tally = Tally()
        with _progress() as show:

            def update(now: Tally) -> None:
                nonlocal tally
                tally = now
                show(now)

            try:
                move(
                    found.session.client("sqs"),
                    found.queue_url("FailureQueueArn"),
                    found.queue_url("EventQueueArn"),
                    codes=code or (),
                    rate=rate,
                    dry_run=dry_run,
                    show=update,
                )
            finally:
                out.print(_moved(tally, dry_run=dry_run))
                if tally.stayed:
                    out.print(f"SQS did not delete {tally.stayed:,} of the moved events: the next")
                    out.print("redrive moves them again, which does no harm.")


@app.command()
def reconcile(
    stack: StackName = "",
    *,
    prefix: Annotated[str, typer.Option(help="Only keys that begin with this.")] = "",
    grace_minutes: Annotated[
        int | None, typer.Option(min=0, help="Leave what changed so recently alone (15).")
    ] = None,
    repair: Annotated[bool, typer.Option(help="Repair what differs.")] = False,
    yes: Annotated[bool, typer.Option(help="Repair without a question.")] = False,
) -> None:
    """Compare both sides. Exit with 0 if they are equal, or a repair has queued all differences."""
    with command():
        ask: Callable[[str], bool] | None = None if yes else typer.confirm
        grace = {} if grace_minutes is None else {"grace_minutes": grace_minutes}
        request = {"prefix": prefix, **grace}
        if not compare(workflow(find(stack)), out, request, repair=repair, confirm=ask):
            raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[Tally], None]]:
    columns = (TextColumn("redrive"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("")
        yield lambda tally: bar.update(
            task,
            completed=tally.moved.total() + tally.kept.total(),
            total=max(tally.total, tally.moved.total() + tally.kept.total()),
        )


def _moved(tally: Tally, *, dry_run: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("error code")
    table.add_column("would be moved" if dry_run else "moved", justify="right")
    table.add_column("kept", justify="right")
    for code in sorted(tally.moved | tally.kept):
        table.add_row(code, f"{tally.moved[code]:,}", f"{tally.kept[code]:,}")
    return table


if __name__ == "__main__":
    end_on_signals()
    app()
