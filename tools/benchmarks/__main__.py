"""`make bench`: measure all clients in turns, and write a page and a picture."""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tools.benchmarks import site
from tools.benchmarks.clients.base import PER_EVENT, Client, Phase
from tools.benchmarks.clients.lambdas import LambdaFunction
from tools.benchmarks.clients.rclone import RcloneCopy, RcloneDaemon
from tools.benchmarks.execution import Executions
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
from tools.benchmarks.measure import ColdStart, Sample, Workload, measure, measure_start
from tools.benchmarks.parallel import Parallel
from tools.benchmarks.picture import compare, draw
from tools.benchmarks.report import page
from tools.common.rclone import version
from tools.common.sizes import GIB, MIB

_FUNCTIONS = [
    LambdaFunction(OURS, "replicator", one_stream=True),
    LambdaFunction(TUTORIAL, "tutorial"),
]
CLIENTS: list[Client] = [*_FUNCTIONS, RcloneDaemon(DAEMON), RcloneCopy(COPY)]
STARTED: list[Client] = [*_FUNCTIONS, LambdaFunction(AS_SHIPPED, "tutorial", compiled=False)]
_EVENTS = (Phase.NEW, Phase.AGAIN, Phase.DUPLICATE, Phase.BATCHES)

_Step = tuple[str, Callable[[], None]]

FULL = [
    Workload(SMALL, 1000, 50, _EVENTS),
    Workload(MIB, 200, 20),
    Workload(EACH_OF_TEN, 50, 20, (Phase.BATCHES,)),
    Workload(FLAT_FROM, 1, 1),
    Workload(GIB, 1, 1),
    Workload(4 * GIB, 1, 1),
]
QUICK = [
    Workload(SMALL, 200, 10, _EVENTS),
    Workload(EACH_OF_TEN, 10, 10, (Phase.BATCHES,)),
    Workload(FLAT_FROM, 1, 1),
    Workload(GIB // 4, 1, 1),
    Workload(GIB // 2, 1, 1),
]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What is measured, and the results so far."""

    workloads: Sequence[Workload]
    delays_ms: Sequence[int]
    rounds: int
    samples: list[Sample] = field(default_factory=list)
    starts: list[ColdStart] = field(default_factory=list)

    def steps(self, running: site.Site) -> Iterator[_Step]:
        """Yield all measurements with their titles. Each round begins with another client."""
        for number, delay in product(range(self.rounds), self.delays_ms):
            for client, objects in product(_rotated(STARTED, number), (1, PER_EVENT)):
                step = partial(self._start, running, client, delay, number, objects)
                yield f"cold start, {objects}, {delay} ms: {client.name}", step
        for number in range(self.rounds):
            for workload, delay, client in product(
                self.workloads, self.delays_ms, _rotated(CLIENTS, number)
            ):
                step = partial(self._measure, running, client, workload, delay, number)
                yield f"{workload.title}, {delay} ms: {client.name}", step

    def _measure(
        self, running: site.Site, client: Client, workload: Workload, delay: int, number: int
    ) -> None:
        if not client.phases.isdisjoint(workload.phases):
            self.samples.extend(measure(running, client, workload, delay, f"round-{number}"))

    def _start(
        self, running: site.Site, client: Client, delay: int, number: int, objects: int
    ) -> None:
        name = f"round-{number}-of-{objects}"
        self.starts.append(measure_start(running, client, delay, name, objects))


def _rotated(clients: list[Client], number: int) -> list[Client]:
    first = number % len(clients)
    return clients[first:] + clients[:first]


def main() -> None:
    """Run all rounds."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, for a check only")
    parser.add_argument("--large", action="store_true", help="only large objects, in parts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="the page to write; by default it is printed")
    options = parser.parse_args()
    benchmark = (
        Benchmark(QUICK, [0, 30], options.rounds)
        if options.quick
        else Benchmark(FULL, [0, 30, 80], options.rounds)
    )
    parallel = Parallel(GIB // 4, 1) if options.quick else Parallel(rounds=options.rounds)
    executions = Executions(GIB // 4, (1, 2)) if options.quick else Executions()
    console = Console(soft_wrap=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        site.running(Path(directory)) as running,
    ):
        ciphers = f"{running.aws.cipher()} from S3, {running.gcs.cipher()} to GCS"
        steps = [] if options.large else [*benchmark.steps(running)]
        _run([*steps, *parallel.steps(running), *executions.steps(running)], console)
    setting = {
        "TLS 1.3": ciphers,
        "Peers": f"{version()}; boto3 and google-cloud-storage as in `requirements/bench.txt`",
        "Rounds": str(benchmark.rounds),
    }
    results = Results(tuple(benchmark.samples), tuple(benchmark.starts))
    sections = [parallel.section(), executions.section()]
    if not options.large:
        sections.insert(0, page(results, benchmark.workloads, benchmark.delays_ms, setting))
    text = "\n".join(sections)
    if options.output is None:
        console.print(text, markup=False, highlight=False)
    else:
        options.output.write_text(text, encoding="utf-8")
        large, largest = (workload.size for workload in benchmark.workloads[-2:])
        draw(options.output.with_name("benchmark.svg"), compare(results, large, largest))


def _run(steps: Sequence[_Step], console: Console) -> None:
    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(steps))
        for title, step in steps:
            progress.update(task, description=title)
            step()
            progress.advance(task)


if __name__ == "__main__":
    main()
