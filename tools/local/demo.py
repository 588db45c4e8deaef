"""`make demo`: run the whole service on this machine, step by step, then compare both sides."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from tools.common.command import end_on_signals, forget_other_clouds
from tools.common.processes import ChildError
from tools.common.tables import duration, size
from tools.local import output
from tools.local.cloud import local_cloud
from tools.local.demo_context import DemoContext, ExpectationError
from tools.local.demo_steps import STEPS
from tools.local.deployment import deployed
from tools.local.large_objects import LargeObjects
from tools.local.runtime import REPOSITORY, LambdaRuntime

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""

QUEUED_BUCKET = "source-queued"
SLICES = LargeObjects(
    sizes={"PARALLEL_FROM": "128 MiB", "LARGE_FROM": "128 MiB", "SLICE_SIZE": "64 MiB"}, runtimes=2
)
LOGS = REPOSITORY / ".cache/demo"

INTRODUCTION = """\
[bold]S3 → Lambda → GCS on this machine[/]: no account, no Docker

    AWS     moto: S3, Secrets Manager, SQS, Step Functions
    GCS     tools.local.gcs: requires real tokens
    Lambda  AWS's Runtime Interface Emulator with awslambdaric
    Stack   template.yaml's bucket, queues and function, and the state machine
"""


def main() -> int:
    """Run the demo; return 0 when every step has its expected result and both sides are equal."""
    parser = argparse.ArgumentParser(prog="python -m tools.local.demo", description=__doc__)
    parser.add_argument("--picture", type=Path, help="write the terminal as SVG into this file")
    picture: Path | None = parser.parse_args().picture
    end_on_signals()
    forget_other_clouds()
    console = output.console(record=picture is not None)
    try:
        good = _run(console)
    except ChildError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted. Every process has been stopped.")
        return INTERRUPTED
    if picture:
        output.save_picture(console, picture)
    return 0 if good else 1


def _run(console: Console) -> bool:
    started = time.perf_counter()
    console.print(INTRODUCTION)
    with (
        local_cloud(COMPRESS_EGRESS="true") as cloud,
        deployed(cloud, QUEUED_BUCKET, SLICES, Delivery="queue", ReplicateDeletes="true") as queued,
    ):
        demo = DemoContext(cloud, queued, console=console)
        console.print(f"    [dim]Started in {duration(time.perf_counter() - started)}.[/]\n")
        good = _run_steps(console, demo)
        good = _compare(console, demo) and good
        if not good:
            _save_logs(console, demo)
    verdict = "[green]All as expected.[/]" if good else "[red]Not as expected: see above.[/]"
    elapsed = duration(time.perf_counter() - started)
    console.print(f"{verdict} Every process has been stopped, after {elapsed} in all.")
    return good


def _run_steps(console: Console, demo: DemoContext) -> bool:
    """Run every step; return whether all had their expected result."""
    all_good = True
    for number, step in enumerate(STEPS, start=1):
        started = time.perf_counter()
        try:
            line, good = step(demo), True
        except ExpectationError as error:
            line, good = str(error), False
        all_good = all_good and good
        elapsed_s = time.perf_counter() - started
        title = (step.__doc__ or "").splitlines()[0]
        console.print(output.step_row(number, title, line, good=good, elapsed_s=elapsed_s))
    return all_good


def _compare(console: Console, demo: DemoContext) -> bool:
    """Print both sides, as the SDKs download them; return whether they are equal."""
    pairs = demo.pairs()
    peak = max(runtime.peak_rss_bytes() for runtime in _runtimes(demo))
    console.print()
    console.print(output.comparison_table(pairs))
    total = sum(pair.source.size for pair in pairs if pair.source)
    console.print(
        f"  equal   {sum(pair.equal for pair in pairs)} of {len(pairs)} objects, {size(total)}\n"
        f"  memory  peak of a function's process {size(peak)}\n"
    )
    return all(pair.equal for pair in pairs)


def _save_logs(console: Console, demo: DemoContext) -> None:
    """Copy the functions' logs before the cloud's folder is deleted."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for runtime in _runtimes(demo):
        shutil.copy(runtime.log, LOGS)
    console.print(f"The functions' logs are in {LOGS}.")


def _runtimes(demo: DemoContext) -> tuple[LambdaRuntime, ...]:
    return (demo.cloud.function, *demo.queued.runtimes)


if __name__ == "__main__":
    sys.exit(main())
