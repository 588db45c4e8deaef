"""Measure everything, in turns, and write a page. `make bench` runs it."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tools.benchmarks import site
from tools.benchmarks.clients.base import PER_EVENT, Client, Phase
from tools.benchmarks.clients.lambdas import LambdaFunction
from tools.benchmarks.clients.rclone import RcloneCopy, RcloneDaemon, version
from tools.benchmarks.figures import (
    AS_SHIPPED,
    COPY,
    DAEMON,
    EACH_OF_TEN,
    FLAT_FROM,
    OURS,
    SMALL,
    TUTORIAL,
    Results,
)
from tools.benchmarks.measure import GIB, MIB, ColdStart, Sample, Workload, measure, measure_start
from tools.benchmarks.report import page

_FUNCTIONS = [LambdaFunction(OURS, "replicator"), LambdaFunction(TUTORIAL, "tutorial")]
CLIENTS: list[Client] = [*_FUNCTIONS, RcloneDaemon(DAEMON), RcloneCopy(COPY)]
STARTED: list[Client] = [*_FUNCTIONS, LambdaFunction(AS_SHIPPED, "tutorial", compiled=False)]
_EVENTS = (Phase.NEW, Phase.AGAIN, Phase.DUPLICATE, Phase.BATCHES)


@dataclass(slots=True)
class Plan:
    """What is measured, and what came of it so far."""

    workloads: list[Workload]
    delays: list[int]
    rounds: int
    samples: list[Sample] = field(default_factory=list)
    starts: list[ColdStart] = field(default_factory=list)

    def steps(self, running: site.Site) -> Iterator[tuple[str, Callable[[], None]]]:
        """Round by round, and each of them begins with another client."""
        for number in range(self.rounds):
            yield from self._starts(running, number)
        for number in range(self.rounds):
            for workload in self.workloads:
                yield from self._measurements(running, workload, number)

    def _starts(self, running: site.Site, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        for delay in self.delays:
            for client in _in_turn(STARTED, number):
                for objects in (1, PER_EVENT):
                    start = partial(self.start, running, client, delay, number, objects)
                    yield f"cold start, {objects}, {delay} ms: {client.name}", start

    def _measurements(
        self, running: site.Site, workload: Workload, number: int
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        for delay in self.delays:
            for client in _in_turn(CLIENTS, number):
                if client.phases.isdisjoint(workload.phases):
                    continue
                step = partial(self.measure, running, client, workload, delay, number)
                yield f"{workload.title}, {delay} ms: {client.name}", step

    def measure(
        self, running: site.Site, client: Client, workload: Workload, delay: int, number: int
    ) -> None:
        self.samples += measure(running, client, workload, delay, f"round-{number}")

    def start(
        self, running: site.Site, client: Client, delay: int, number: int, objects: int
    ) -> None:
        name = f"round-{number}-of-{objects}"
        self.starts.append(measure_start(running, client, delay, name, objects))


def _in_turn(clients: list[Client], number: int) -> list[Client]:
    turn = number % len(clients)
    return clients[turn:] + clients[:turn]


def full(rounds: int) -> Plan:
    """What is worth quoting."""
    workloads = [
        Workload(SMALL, 1000, 50, _EVENTS),
        Workload(MIB, 200, 20),
        Workload(EACH_OF_TEN, 50, 20, (Phase.BATCHES,)),
        Workload(FLAT_FROM, 1, 1),
        Workload(GIB, 1, 1),
        Workload(4 * GIB, 1, 1),
    ]
    return Plan(workloads, [0, 30, 80], rounds)


def quick(rounds: int) -> Plan:
    """What tells in a minute whether something went wrong."""
    workloads = [
        Workload(SMALL, 200, 10, _EVENTS),
        Workload(EACH_OF_TEN, 10, 10, (Phase.BATCHES,)),
        Workload(FLAT_FROM, 1, 1),
        Workload(GIB // 4, 1, 1),
        Workload(GIB // 2, 1, 1),
    ]
    return Plan(workloads, [0, 30], rounds)


def main() -> None:
    """Run all rounds."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: nothing to quote")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="the page to write; without it, it is printed")
    options = parser.parse_args()
    plan = (quick if options.quick else full)(options.rounds)
    console = Console(soft_wrap=True)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        running = stack.enter_context(site.running(Path(directory)))
        _run(plan, running, console)
    setting = {
        "TLS 1.3": f"{running.aws.cipher} from S3, {running.gcs.cipher} to GCS",
        "Peers": f"{version()}; boto3 and google-cloud-storage as in `requirements/bench.txt`",
        "Rounds": str(plan.rounds),
    }
    results = Results(tuple(plan.samples), tuple(plan.starts))
    text = page(results, plan.workloads, plan.delays, setting)
    if options.output is None:
        console.print(text, markup=False, highlight=False)
    else:
        options.output.write_text(text, encoding="utf-8")


def _run(plan: Plan, running: site.Site, console: Console) -> None:
    steps = [*plan.steps(running)]
    columns = (
        TextColumn("{task.description:<44}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(steps))
        for title, step in steps:
            progress.update(task, description=title)
            step()
            progress.advance(task)


if __name__ == "__main__":
    main()
