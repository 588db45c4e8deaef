"""`make demo`: the whole service on this machine, played in scenes, then checked from outside."""

import shutil
import sys
import time

from rich.console import Console

from tools.common.processes import ChildError
from tools.local import report
from tools.local.cloud import local_cloud
from tools.local.command import end_on_signals, forget_other_clouds
from tools.local.deploy import deployed
from tools.local.queue_scenes import QUEUE_SCENES
from tools.local.queue_stage import QueueStage
from tools.local.report import duration, size
from tools.local.runtime import REPOSITORY
from tools.local.scenes import SCENES
from tools.local.stage import SurpriseError

INTERRUPTED = 130
QUEUED = "source-queued"
"""The bucket of the stack that receives through its queue."""

LOGS = REPOSITORY / ".cache/demo"


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
    with (
        local_cloud() as cloud,
        deployed(cloud, QUEUED, Delivery="queue", ReplicateDeletes="true") as stack,
    ):
        stage = QueueStage(cloud, stack=stack)
        _introduce(console, stage, time.perf_counter() - started)
        good = _play(console, stage)
        good = _compare(console, stage) and good
        if not good:
            _keep_logs(console, stage)
    verdict = "[green]All as promised.[/]" if good else "[red]Not as promised: see above.[/]"
    elapsed = duration(time.perf_counter() - started)
    console.print(f"{verdict} Everything is stopped again, after {elapsed} in all.")
    return good


def _introduce(console: Console, stage: QueueStage, elapsed_s: float) -> None:
    cloud = stage.cloud
    console.print(
        f"    AWS     {cloud.aws.endpoint_url}  moto: S3, Secrets Manager, SQS\n"
        f"    GCS     {cloud.google.url}  local.gcs: asks for real tokens\n"
        f"    API     {cloud.api.url}/v1/replicate\n"
        "    Lambda  AWS's Runtime Interface Emulator with awslambdaric\n"
        f"    Stack   template.yaml's bucket {stage.stack.bucket}, queues and function\n"
        f"    [dim]Up in {duration(elapsed_s)}.[/]\n"
    )


def _keep_logs(console: Console, stage: QueueStage) -> None:
    """The cloud's folder goes with it: keep what says why."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for function in (stage.cloud.function, stage.stack.function):
        shutil.copy(function.log, LOGS)
    console.print(f"The functions' logs are kept: {LOGS}")


def _play(console: Console, stage: QueueStage) -> bool:
    """Play every scene; whether all went as promised."""
    surprises = 0
    for number, scene in enumerate((*SCENES, *QUEUE_SCENES), start=1):
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


def _compare(console: Console, stage: QueueStage) -> bool:
    """Show both sides, as the SDKs download them; whether they are equal."""
    requests = len(stage.cloud.google.requests())
    pairs = stage.pairs()
    peak = max(f.peak_rss_bytes() for f in (stage.cloud.function, stage.stack.function))
    console.print()
    console.print(report.audit_table(pairs, stage.elapsed_ms()))
    total = sum(pair.source.size for pair in pairs if pair.source)
    console.print(
        f"  equal     {sum(pair.equal for pair in pairs)} of {len(pairs)} objects, {size(total)}\n"
        f"  requests  {requests} to GCS, with tokens and this demo's own questions\n"
        f"  memory    {size(peak)} at most, in a function's process\n"
    )
    return all(pair.equal for pair in pairs)


if __name__ == "__main__":
    sys.exit(main())
