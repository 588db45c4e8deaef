"""One object in parts, where each connection has a limited bandwidth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

from tools.benchmarks.clients.base import Client
from tools.benchmarks.clients.lambdas import LambdaFunction
from tools.benchmarks.clients.rclone import RcloneCopy
from tools.benchmarks.figures import COPY, LATENCY_MS, TUTORIAL, Bar, medians
from tools.benchmarks.measure import Sample, Workload, measure
from tools.benchmarks.report import bar_table
from tools.benchmarks.site import Site
from tools.common.sizes import GIB, MIB
from tools.common.tables import size as size_text
from tools.common.tables import table

PARTS, STREAM, XML = "replicator, parts", "replicator, one stream", "rclone copy, XML API"

RATE = 50_000_000
"""Bytes a second of each connection."""

CLIENTS: Sequence[Client] = (
    LambdaFunction(PARTS, "replicator"),
    LambdaFunction(STREAM, "replicator", one_stream=True),
    LambdaFunction(TUTORIAL, "tutorial"),
    RcloneCopy(COPY),
    RcloneCopy(XML, by_xml_api=True),
)


@dataclass(frozen=True, slots=True)
class Parallel:
    """What is measured, and the results so far."""

    size: int = GIB
    rounds: int = 3
    rate: int = RATE
    clients: Sequence[Client] = CLIENTS
    samples: list[Sample] = field(default_factory=list)

    def steps(self, site: Site) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield all measurements with their titles."""
        for number, client in product(range(self.rounds), self.clients):
            title = (
                f"{size_text(self.size)} at {self.rate / 1e6:.0f} MB/s a connection: {client.name}"
            )
            yield title, partial(self._measure, site, client, number)

    def _measure(self, site: Site, client: Client, number: int) -> None:
        site.take(rate=self.rate)
        workload = Workload(self.size, 1, 1)
        self.samples.extend(measure(site, client, workload, LATENCY_MS, f"rate-{number}"))
        site.take(rate=0)

    def figure(self, client: str) -> Sample | None:
        """Return the medians of all rounds; None if nothing was measured."""
        found = [sample for sample in self.samples if sample.client == client]
        return medians(found) if found else None

    def bars(self) -> Iterator[Bar]:
        """Yield every bar that was measured. The time is that of 1 GiB, and grows with the size."""
        ours, stream = self.figure(PARTS), self.figure(STREAM)
        what = f"{size_text(self.size)} in parts at {LATENCY_MS} ms"
        if ours:
            yield Bar(f"{what}: time", 8, ours.wall_s, "s")
            peak = max(each.rss_peak for each in self.samples if each.client == PARTS)
            yield Bar(f"{what}: peak memory", 140, peak / MIB, "MiB")
        if ours and stream:
            yield Bar(f"{what}: CPU, times that of one stream", 1.3, ours.cpu_s / stream.cpu_s)

    def section(self) -> str:
        """Return the figures as a section of the page."""
        figures = [each for client in self.clients if (each := self.figure(client.name))]
        rows = [
            (
                figure.client,
                f"{figure.wall_s:.1f}",
                f"{figure.cpu_s:.2f}",
                f"{figure.cpu_s / figures[0].cpu_s:.2f}",
                f"{figure.rss_peak / MIB:.0f}",
                f"{figure.s3_requests:g} + {figure.gcs_requests:g}",
                f"{figure.round_trips:g}",
            )
            for figure in figures
        ]
        head = ["client", "time s", "CPU s", "times", "peak RSS MiB", "requests", "in sequence"]
        return f"""\
## {size_text(self.size)} in parts

Each connection carries {self.rate / 1e6:.0f} MB/s, and a round trip takes {LATENCY_MS} ms.

{bar_table(self.bars())}

{table(head, rows)}
"""
