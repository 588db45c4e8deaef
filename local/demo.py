"""`make demo`: the whole service on this machine, played in scenes, then checked from outside."""

import shutil
import sys
import time

from rich.console import Console

from local import report
from local.cloud import LocalCloud, local_cloud
from local.command import end_on_signals, forget_other_clouds
from local.processes import ChildError
from local.report import duration, size
from local.runtime import REPOSITORY
from local.scenes import SCENES
from local.stage import Stage, SurpriseError

INTERRUPTED = 130
LOG = REPOSITORY / ".cache/demo.log"


def main() -> int:
    """Run the demo; 0 when every scene went as promised and both sides are equal."""
    end_on_signals()
    forget_other_clouds()
    console = report.console()
    try:
        good = _run(console)
    except ChildError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted: everything is stopped again.")
        return INTERRUPTED
    return 0 if good else 1


def _run(console: Console) -> bool:
    started = time.perf_counter()
    console.print("[bold]S3 → Lambda → GCS on this machine[/]: no account, no Docker\n")
    with local_cloud() as cloud:
        _introduce(console, cloud, time.perf_counter() - started)
        stage = Stage(cloud)
        good = _play(console, stage)
        good = _compare(console, stage) and good
        if not good:
            _keep_log(console, cloud)
    verdict = "[green]All as promised.[/]" if good else "[red]Not as promised: see above.[/]"
    elapsed = duration(time.perf_counter() - started)
    console.print(f"{verdict} Everything is stopped again, after {elapsed} in all.")
    return good


def _introduce(console: Console, cloud: LocalCloud, elapsed_s: float) -> None:
    console.print(
        f"    AWS     {cloud.aws.endpoint_url}  moto: S3, Secrets Manager, SQS\n"
        f"    GCS     {cloud.google.url}  local.gcs: asks for real tokens\n"
        f"    API     {cloud.api.url}/v1/replicate\n"
        "    Lambda  AWS's Runtime Interface Emulator with awslambdaric\n"
        f"    [dim]Up in {duration(elapsed_s)}.[/]\n"
    )


def _keep_log(console: Console, cloud: LocalCloud) -> None:
    """The cloud's folder goes with it: keep what says why."""
    LOG.parent.mkdir(exist_ok=True)
    shutil.copy(cloud.function.log, LOG)
    console.print(f"The function's log is kept: {LOG}")


def _play(console: Console, stage: Stage) -> bool:
    """Play every scene; whether all went as promised."""
    surprises = 0
    for number, scene in enumerate(SCENES, start=1):
        started = time.perf_counter()
        try:
            line, good = scene(stage), True
        except SurpriseError as surprise:
            line, good = str(surprise), False
            surprises += 1
        elapsed_s = time.perf_counter() - started
        title = (scene.__doc__ or "").splitlines()[0]
        console.print(report.scene_row(number, title, line, good=good, elapsed_s=elapsed_s))
    return not surprises


def _compare(console: Console, stage: Stage) -> bool:
    """Show both sides, as the SDKs download them; whether they are equal."""
    requests = len(stage.cloud.google.requests())
    pairs = stage.pairs()
    console.print()
    console.print(report.audit_table(pairs, stage.elapsed_ms()))
    total = sum(pair.source.size for pair in pairs if pair.source)
    console.print(
        f"  equal     {sum(pair.equal for pair in pairs)} of {len(pairs)} objects, {size(total)}\n"
        f"  requests  {requests} to GCS, with tokens and this demo's own questions\n"
        f"  memory    {size(stage.cloud.function.peak_rss_bytes())} at most, in the function\n"
    )
    return all(pair.equal for pair in pairs)


if __name__ == "__main__":
    sys.exit(main())
