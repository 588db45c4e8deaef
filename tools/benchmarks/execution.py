"""One object through the steps of the state machine, over several worker processes."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from replicate.protocol.parts import Sizes
from tools.benchmarks.clients.base import ClientError
from tools.benchmarks.clients.lambdas import LambdaFunction, Worker
from tools.benchmarks.figures import LATENCY_MS
from tools.benchmarks.machine import Json, Machine
from tools.benchmarks.series import Series
from tools.benchmarks.servers.aws import BUCKET
from tools.benchmarks.simulation import Scenario, simulate
from tools.benchmarks.site import Site
from tools.common.sizes import GIB, MIB
from tools.common.tables import size as size_text
from tools.common.tables import table

FUNCTION_RATE = 75 * MIB
"""Bytes a second of one Lambda function by default, in and out counted apart."""

CONNECTIONS = 4
"""Of each worker: `PARTS_AT_ONCE`."""

SLICES = 8


@dataclass(frozen=True, slots=True)
class Run:
    """One execution. `requests` are those to S3 and to GCS."""

    workers: int
    wall_s: float
    requests: tuple[int, int]
    transitions: int


@dataclass(frozen=True, slots=True)
class Executions:
    """What is measured, and the results so far."""

    size: int = 4 * GIB
    workers: Sequence[int] = (1, 2, 4)
    rate: int = FUNCTION_RATE
    runs: list[Run] = field(default_factory=list)

    def steps(self, site: Site) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield all measurements with their titles."""
        for count in self.workers:
            title = f"{size_text(self.size)} through the state machine, workers: {count}"
            yield title, partial(self._measure, site, count)

    def _measure(self, site: Site, count: int) -> None:
        series = Series(self.size, 1, f"execution-{count}")
        with workers(site, count, self.size // SLICES) as pool:
            site.take(delay_ms=LATENCY_MS, size=self.size, rate=self.rate // CONNECTIONS)
            started = time.monotonic()
            machine = Machine(pool.invoke, pool.run_all)
            output = machine.execute(
                {"bucket": BUCKET, "key": series.keys[0], "version": None, "round": 0}
            )
            wall_s = time.monotonic() - started
            s3, gcs = site.take(delay_ms=0, rate=0)
        verified = output["result"]["verified_by"]
        if gcs.written != 1 or verified != {"source": "crc64nvme", "destination": "crc32c"}:
            raise ClientError(f"{gcs.written} objects written, verified by {verified}")
        requests = len(s3.entries), len(gcs.entries)
        self.runs.append(Run(count, wall_s, requests, machine.transitions))

    def _modelled_s(self, count: int) -> float:
        """Return the time of the same work in the simulation, which has no limit of the CPU."""
        slice_bytes = self.size // SLICES
        sizes = Sizes(large_from=slice_bytes, slice=slice_bytes)
        return simulate(Scenario(count, self.rate // MIB, 1024), self.size, sizes).wall_s

    def section(self) -> str:
        """Return the figures as a section of the page."""
        rows = [
            (
                run.workers,
                f"{run.wall_s:.1f}",
                f"{self._modelled_s(run.workers):.1f}",
                f"{self.runs[0].wall_s / run.wall_s:.2f}",
                f"{run.requests[0]} + {run.requests[1]}",
                run.transitions,
            )
            for run in self.runs
        ]
        head = ["workers", "time s", "modelled s", "times faster", "requests", "transitions"]
        return f"""\
## {size_text(self.size)} through the state machine

{SLICES} slices over worker processes with the real handler. A round trip takes {LATENCY_MS} ms. A
worker has {self.rate / MIB:.0f} MiB/s, the default of Lambda, a quarter for each of its
{CONNECTIONS} connections. The server compared the CRC32C of every object that was written.
"modelled" is the time of the same work in the simulation.

{table(head, rows)}
"""


class Pool:
    """Workers that run one event at a time."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._count = len(workers)
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in workers:
            self._idle.put(worker)

    def invoke(self, event: Json) -> Json:
        """Invoke the function in a worker that is idle."""
        worker = self._idle.get()
        try:
            (result,) = worker.send([event])["results"]
            return dict(result)
        finally:
            self._idle.put(worker)

    def run_all(self, tasks: Sequence[Callable[[], Json]], limit: int) -> list[Json]:
        """Run the tasks in threads: as many at a time as there are workers."""
        with ThreadPoolExecutor(min(limit, self._count)) as threads:
            return [*threads.map(lambda task: task(), tasks)]


@contextmanager
def workers(site: Site, count: int, slice_bytes: int) -> Iterator[Pool]:
    """Run `count` workers, which have their clients but no connections yet.

    Objects are large from `slice_bytes` on, which is also the size of a slice.
    """
    sizes = dict.fromkeys(("PARALLEL_FROM", "LARGE_FROM", "SLICE_SIZE"), str(slice_bytes))
    function = LambdaFunction("worker", "replicator")
    with ExitStack() as stack:
        yield Pool([stack.enter_context(function.open(site, **sizes)) for _ in range(count)])
