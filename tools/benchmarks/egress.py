"""`make bench GZIP=1`: bytes on the wire, CPU and dollars of objects that are sent compressed.

It writes its tables into docs/PERFORMANCE.md.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from replicate.reconcile import costs
from tools.benchmarks import site
from tools.benchmarks.clients.lambdas import LambdaFunction
from tools.benchmarks.figures import LATENCY_MS, Bar, medians
from tools.benchmarks.measure import Sample, Workload, measure
from tools.benchmarks.parallel import RATE
from tools.benchmarks.reconcile import LAMBDA_VCPUS, publish
from tools.benchmarks.report import bar_table
from tools.common.kinds import CSV, GZIPPED, JSON_LOG, RANDOM, REPETITIVE, DataKind
from tools.common.sizes import GIB, MIB
from tools.common.tables import size as size_text
from tools.common.tables import table

MARK = "make bench GZIP=1"

PLAIN = LambdaFunction("replicator, plain", "replicator")
OURS = LambdaFunction("replicator, gzip", "replicator", compresses=True)
PEER = LambdaFunction("gcloud --gzip-in-flight-all", "gzip_in_flight")

RUNS: list[tuple[DataKind, LambdaFunction]] = [
    (JSON_LOG, PLAIN),
    *product((JSON_LOG, CSV, REPETITIVE), (OURS, PEER)),
    *product((RANDOM,), (PLAIN, OURS, OURS, PLAIN, PLAIN, OURS, PEER)),
    *product((GZIPPED,), (OURS, PEER)),
]
"""What each round measures. The kind of data makes no difference to a plain copy, but to time.

Both copies of random bytes must take the same CPU, which varies by 10 %: so they run three times.
"""


@dataclass(frozen=True, slots=True)
class Egress:
    """What is measured, and the results so far."""

    size: int = GIB
    large: int = 4 * GIB
    """Size of the object whose peak memory must be the same."""
    rounds: int = 3
    samples: dict[tuple[DataKind, str, int], list[Sample]] = field(default_factory=dict)

    def run(self, running: site.Site) -> None:
        """Measure everything, in turns."""
        for kind, client in RUNS * self.rounds:
            self._measure(running, kind, client, self.size)
        self._measure(running, JSON_LOG, OURS, self.large)

    def _measure(
        self, running: site.Site, kind: DataKind, client: LambdaFunction, size: int
    ) -> None:
        running.take(kind=kind.name, rate=RATE)
        found = self.samples.setdefault((kind, client.name, size), [])
        workload, tag = Workload(size, 1, 1), f"{kind.name.lower().replace(' ', '-')}-{len(found)}"
        found += measure(running, client, workload, LATENCY_MS, tag)
        print(f"{kind.name}: {found[-1]}", flush=True)

    def figure(self, kind: DataKind, client: LambdaFunction, size: int | None = None) -> Sample:
        """Return the medians of all rounds."""
        return medians(self.samples[kind, client.name, size or self.size])

    def bars(self) -> Iterator[Bar]:
        """Yield the limits."""
        log, plain = self.figure(JSON_LOG, OURS), self.figure(JSON_LOG, PLAIN)
        yield Bar("JSON log: bytes on the wire, of its own", 0.26, log.sent / log.size)
        yield Bar("JSON log: CPU, times that of the plain copy", 2.2, log.cpu_s / plain.cpu_s)
        noise, plain = self.figure(RANDOM, OURS), self.figure(RANDOM, PLAIN)
        yield Bar("random bytes: on the wire, times the plain copy", 1.02, noise.sent / plain.sent)
        yield Bar("random bytes: CPU, times the plain copy", 1.02, noise.cpu_s / plain.cpu_s)
        large = self.figure(JSON_LOG, OURS, self.large)
        peak = max(each.rss_peak for each in self._all(OURS))
        yield Bar("peak memory, any kind and size", 180, peak / MIB, "MiB")
        growth = (large.rss_peak - log.rss_peak) / MIB
        what = f"{size_text(self.size)} to {size_text(self.large)}: growth of peak memory"
        yield Bar(what, 8, growth, "MiB")

    def _all(self, client: LambdaFunction) -> Iterator[Sample]:
        for (_, name, _), found in self.samples.items():
            yield from found if name == client.name else ()

    def page(self) -> str:
        """Return the tables."""
        rows = [self._row(kind, client, self.size) for kind, client in dict.fromkeys(RUNS)]
        rows.append(self._row(JSON_LOG, OURS, self.large))
        head = ["data", "size", "client", "on the wire", "of its bytes", "CPU s/GiB", "time s"]
        return f"""\
{table([*head, "peak MiB", "saved $/GiB", "spent $/GiB", "saved ÷ spent"], rows, text_columns=3)}

{bar_table(self.bars())}"""

    def _row(self, kind: DataKind, client: LambdaFunction, size: int) -> tuple[object, ...]:
        one = self.figure(kind, client, size)
        plain = self.figure(JSON_LOG if kind is JSON_LOG else RANDOM, PLAIN)
        saved, spent = money(one, plain)
        return (
            kind.name,
            size_text(size),
            client.name,
            f"{one.sent / MIB:,.1f} MiB",
            f"{one.sent / size:.3f}",
            f"{per_gib(one.cpu_s, one):.2f}",
            f"{one.wall_s:.1f}",
            f"{one.rss_peak / MIB:.0f}",
            *(("", "", "") if client is PLAIN else _dollars(saved, spent)),
        )


def per_gib(value: float, sample: Sample) -> float:
    """Return a value of one object as that of a GiB."""
    return value / sample.size * GIB


def money(sample: Sample, plain: Sample) -> tuple[float, float]:
    """Return what a GiB saves of egress and what it takes more of CPU, in dollars.

    The CPU is that of a function with 1,024 MB, which has a share of a core.
    """
    fewer_bytes = per_gib(plain.sent, plain) - per_gib(sample.sent, sample)
    more_cpu_s = per_gib(sample.cpu_s, sample) - per_gib(plain.cpu_s, plain)
    spent = more_cpu_s / LAMBDA_VCPUS * costs.LAMBDA_GB_SECOND
    return fewer_bytes / GIB * costs.EGRESS_PER_GIB, spent


def _dollars(saved: float, spent: float) -> tuple[str, str, str]:
    pays = saved > 0 and spent > 0
    return f"{saved:.4f}", f"{spent:.5f}", f"{saved / spent:,.0f}" if pays else ""


def main() -> None:
    """Measure, and write or print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.egress")
    parser.add_argument("--quick", action="store_true", help="small objects; print the tables")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    egress = Egress(rounds=options.rounds)
    if options.quick:
        egress = replace(egress, size=GIB // 4, large=GIB // 2, rounds=1)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        site.running(Path(directory)) as running,
    ):
        egress.run(running)
    publish(egress.page(), MARK, quick=options.quick)


if __name__ == "__main__":
    main()
