"""`make bench RECONCILE=1`: compare millions of objects on both sides, beside `rclone check`.

It writes its tables into docs/PERFORMANCE.md.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from replicate.reconcile import costs
from tools.benchmarks import site
from tools.benchmarks.clients.base import ClientError
from tools.benchmarks.clients.lambdas import LambdaFunction
from tools.benchmarks.clients.rclone import environment
from tools.benchmarks.execution import Pool
from tools.benchmarks.figures import Bar
from tools.benchmarks.report import bar_table
from tools.benchmarks.servers.aws import BUCKET, REPORTS
from tools.benchmarks.servers.gcs import BUCKET as DESTINATION
from tools.benchmarks.servers.listing import PAGE, Listed, damages
from tools.benchmarks.simulation import written
from tools.common import processes, rclone
from tools.common.reconciling import reconcile
from tools.common.sizes import MIB
from tools.common.tables import table

MILLION = 1_000_000
MILLIONS = (1, 3, 10)
FOLDERS = (MILLION, 10_000)
"""Objects in a folder: rclone reads a folder at a time, and holds all of it."""

WARM_UP = Listed.sized(900)
DOCUMENT = Path(__file__).parents[2] / "docs" / "PERFORMANCE.md"
MARK = "make bench RECONCILE=1"

PAGE_S = 0.125
"""A page of a real listing takes 100 to 150 ms. Both sides are read at the same time."""

LAMBDA_VCPUS = 1024 / 1769
"""Of a function with 1,024 MB."""

WORKERS = 40
"""Ranges at a time, of the state machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One comparison by one client, in a process of its own."""

    client: str
    count: int
    per_folder: int
    cpu_s: float
    wall_s: float
    rss: int
    """Peak, in bytes."""
    requests: tuple[int, int]
    """Pages that S3 and GCS listed."""

    @property
    def cpu_per_million(self) -> float:
        return self.cpu_s / self.count * MILLION

    def row(self) -> tuple[object, ...]:
        return (
            self.client,
            f"{self.count:,}",
            f"{self.per_folder:,}",
            f"{self.cpu_s:.1f}",
            f"{self.cpu_per_million:.1f}",
            f"{self.wall_s:.1f}",
            f"{self.rss / MIB:.0f}",
            f"{self.requests[0]:,} + {self.requests[1]:,}",
        )


def measure_ours(running: site.Site, listed: Listed) -> Measured:
    """Compare with the function's own handler, all steps in one process."""
    settings = {"REPORTS_BUCKET": REPORTS, "EVENT_QUEUE_URL": f"{running.aws.url}/queue"}
    with LambdaFunction("reconcile", "replicator").open(running, **settings) as worker:
        pid, invoke = worker.pid, Pool([worker]).invoke
        reconcile(invoke, prefix=WARM_UP.prefix)  # clients, connections, the token
        running.take()
        cpu_s, started = processes.cpu_seconds(pid), time.monotonic()
        done = reconcile(invoke, prefix=listed.prefix)
        wall_s = time.monotonic() - started
        cpu_s = processes.cpu_seconds(pid) - cpu_s
        rss = processes.peak_rss_bytes(pid)
    counts = done["counts"]
    _check("the reconcile", listed, counts["missing"], counts["different"])
    if (counts["compared"], counts["extra"]) != (listed.count, 0):
        raise ClientError(f"the reconcile: {counts}")
    return _measured("reconcile", running, listed, cpu_s, wall_s, rss)


def measure_rclone(running: site.Site, listed: Listed) -> Measured:
    """Compare with `rclone check --size-only`."""
    missing, different = (running.directory / name for name in ("missing", "different"))
    started = time.monotonic()
    child = subprocess.Popen(  # noqa: S603 - it is measured
        [
            *(rclone.COMMAND, "check", "--size-only", "--log-level", "CRITICAL"),
            *("--missing-on-dst", missing, "--differ", different),
            *(f"s3:{BUCKET}/{listed.prefix}", f"gcs:{DESTINATION}/{listed.prefix}"),
        ],
        env=environment(running),
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - started
    _check("rclone", listed, *(len(each.read_text().splitlines()) for each in (missing, different)))
    cpu_s = used.ru_utime + used.ru_stime
    return _measured("rclone check", running, listed, cpu_s, wall_s, used.ru_maxrss * 1024)


def _check(client: str, listed: Listed, *found: int) -> None:
    if found != damages(listed.count):
        raise ClientError(f"{client} found {found} of {damages(listed.count)}")


def _measured(
    client: str, running: site.Site, listed: Listed, cpu_s: float, wall_s: float, rss: int
) -> Measured:
    s3, gcs = (
        sum(entry.name == "GET list" for entry in record.entries) for record in running.take()
    )
    return Measured(
        client=client,
        count=listed.count,
        per_folder=listed.per_folder,
        cpu_s=cpu_s,
        wall_s=wall_s,
        rss=rss,
        requests=(s3, gcs),
    )


def bars(ours: Sequence[Measured], theirs: Sequence[Measured]) -> Iterator[Bar]:
    """Yield the limits, with the smallest and the largest comparison of ours."""
    small, large = ours[0], ours[-1]
    millions = f"{large.count / MILLION:g} million pairs"
    yield Bar(f"{millions}: CPU of a million (goal: 10)", 15, large.cpu_per_million, "s")
    yield Bar(f"{millions}: peak memory", 120, large.rss / MIB, "MiB")
    growth = (large.rss - small.rss) / MIB
    yield Bar(f"{small.count / MILLION:g} to {millions}: growth of peak memory", 8, growth, "MiB")
    rise = large.cpu_per_million / small.cpu_per_million
    yield Bar(f"{small.count / MILLION:g} to {millions}: growth of the CPU of a million", 1.1, rise)
    pages = 2 * large.count / PAGE
    yield Bar(f"{millions}: pages listed, times the fewest", 1.05, sum(large.requests) / pages)
    for peer in theirs:
        what = f"times that of `{peer.client}`, {peer.per_folder:,} in a folder"
        yield Bar(f"CPU, {what}", 0.7, small.cpu_s / peer.cpu_s)
        yield Bar(f"peak memory, {what}", 0.2, small.rss / peer.rss)


def page(ours: Sequence[Measured], theirs: Sequence[Measured]) -> str:
    """Return the tables, and what a billion objects cost on paper."""
    head = ["client", "pairs", "in a folder", "CPU s", "of a million", "time s", "peak MiB"]
    rows = [each.row() for each in (*ours, *theirs)]
    return f"""\
{table([*head, "pages of S3 + GCS"], rows)}

{bar_table(bars(ours, theirs))}

{_billion(ours[-1])}"""


def _billion(measured: Measured) -> str:
    """Return time and cost of a billion objects: nobody measured them."""
    pages = 1e9 / PAGE
    cpu_s = measured.cpu_per_million * 1000 / LAMBDA_VCPUS
    busy_s = max(pages * PAGE_S, cpu_s)
    listing, function = 2 * pages * costs.CLASS_A, busy_s * costs.LAMBDA_GB_SECOND
    return f"""\
A billion objects on paper: {pages:,.0f} pages on each side, read at the same time, at \
{PAGE_S * 1000:.0f} ms each, by {WORKERS} workers: **{busy_s / WORKERS / 60:.0f} minutes**. They use
{cpu_s / busy_s:.0%} of the CPU that Lambda gives to 1,024 MB. Listing ${listing:.2f} ($5.00 per \
million pages), Lambda {busy_s:,.0f} GB-s = ${function:.2f}: **${listing + function:.2f}**."""


def publish(text: str, mark: str, *, quick: bool) -> None:
    """Print the tables. Write them into the document, unless they are of a quick run."""
    print(text)
    if not quick:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), text, mark))


def main() -> None:
    """Measure, and write or print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.reconcile")
    parser.add_argument("--quick", action="store_true", help="fewer objects; print the tables")
    parser.add_argument("--millions", type=float, nargs="+", default=MILLIONS, help="of pairs")
    options = parser.parse_args()
    ours, theirs = [], []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        site.running(Path(directory)) as running,
    ):
        for millions in (0.1, 0.2) if options.quick else options.millions:
            ours.append(measure_ours(running, Listed.sized(round(millions * MILLION))))
            print(ours[-1])
        for per_folder in FOLDERS:
            theirs.append(measure_rclone(running, Listed.sized(ours[0].count, per_folder)))
            print(theirs[-1])
    publish(page(ours, theirs), MARK, quick=options.quick)


if __name__ == "__main__":
    main()
