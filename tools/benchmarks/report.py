"""The figures as a page of Markdown."""

import platform
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product

from tools.benchmarks.clients.base import PER_EVENT, Phase
from tools.benchmarks.figures import (
    AS_SHIPPED,
    COPY,
    DAEMON,
    FLAT_FROM,
    OURS,
    TUTORIAL,
    Bar,
    Results,
    bars,
)
from tools.benchmarks.measure import ColdStart, Sample, Workload
from tools.common.hardware import processor
from tools.common.sizes import GIB, MIB
from tools.common.tables import size, table

CLIENTS = (OURS, TUTORIAL, DAEMON, COPY)


def page(
    results: Results,
    workloads: Sequence[Workload],
    delays: Sequence[int],
    setting: Mapping[str, str],
) -> str:
    """Return all tables, with the machine and the date."""
    large = [workload for workload in workloads if workload.size >= FLAT_FROM]
    small = [workload for workload in workloads if workload.size < FLAT_FROM]
    facts = "\n".join(f"- {k}: {v}" for k, v in {**_machine(), **setting}.items())
    return f"""\
# Measured

Written by `make bench`; [PERFORMANCE.md](PERFORMANCE.md) says what it means and how it is measured.
Figures are medians of all rounds. "times" is the ratio to the replicator's CPU in the same run:
only ratios are worth quoting. Requests are those to S3 + those to GCS.

{facts}

![CPU and time of the peers, times the replicator's](benchmark.svg)

## Bars

Limits on CPU and time are ratios within this run: they hold on any machine. For the CPU of a new
object of 10 KiB the goal beyond the bar is 0.8; the tutorial's function checks nothing.

{_bars(results, large)}

## Large objects

{_large(results, large, delays)}

## Small objects

Per object. All clients but `rclone copy` get one object after the other.

{_small(results, small, delays)}

## Cold start

Init: imports, and all clients made (the tutorial's reads its secret then). First event: token,
connections, and its new objects of 10 KiB. Requests are those to AWS + those to Google, from the
start of the process to its end. `sam build` ships no .pyc files.

{_cold_starts(results, delays)}
"""


def _machine() -> dict[str, str]:
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimised = "with" if "--enable-optimizations" in options else "without"
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Machine": f"{processor()}, Linux {platform.release()}, {system}",
        "Python": f"{platform.python_version()}, {optimised} profile-guided optimisation",
    }


def _bars(results: Results, large: Sequence[Workload]) -> str:
    return bar_table(bars(results, large[-2].size, large[-1].size))


def bar_table(found: Iterable[Bar]) -> str:
    """Return limits, what was measured, and whether the limits are met."""
    rows = [
        (
            bar.what,
            f"≤ {bar.limit:.3g} {bar.unit}",
            f"{bar.measured:.4g} {bar.unit}",
            "met" if bar.met else "**not met**",
        )
        for bar in found
    ]
    return table(["what", "bar", "measured", ""], rows)


def _large(results: Results, workloads: Sequence[Workload], delays: Sequence[int]) -> str:
    head = ["object", "round trip", "client", "CPU-s/GiB", "times", "time s", "peak RSS MiB"]
    rows = [
        (
            size(figure.size),
            *_delay_and_client(figure),
            f"{figure.cpu_s / figure.size * GIB:.2f}",
            times,
            f"{figure.wall_s:.1f}",
            f"{figure.rss_peak / MIB:.0f}",
            f"{(figure.rss_peak - figure.rss_idle) / MIB:.0f}" if figure.rss_idle else "",
            *_requests(figure),
        )
        for figure, _, times in _figures(results, workloads, delays)
    ]
    return table([*head, "above idle", "requests", "in sequence"], rows, text_columns=3)


def _small(results: Results, workloads: Sequence[Workload], delays: Sequence[int]) -> str:
    head = ["objects", "round trip", "client", "CPU ms", "times", "time ms", "peak RSS MiB"]
    rows = [
        (
            f"{figure.count:,} x {size(figure.size)}, {phase}",
            *_delay_and_client(figure),
            f"{figure.cpu_s * 1000:.2f}",
            times,
            f"{figure.wall_s * 1000:.1f}",
            f"{figure.rss_peak / MIB:.0f}",
            *_requests(figure),
        )
        for figure, phase, times in _figures(results, workloads, delays)
    ]
    return table([*head, "requests", "in sequence"], rows, text_columns=3)


def _figures(
    results: Results, workloads: Sequence[Workload], delays: Sequence[int]
) -> Iterator[tuple[Sample, Phase, str]]:
    """Yield the figure of every client, and its CPU as a multiple of ours."""
    for workload in workloads:
        for phase, delay in product(workload.phases, delays):
            found = [results.figure(client, workload.size, phase, delay) for client in CLIENTS]
            present = [figure for figure in found if figure]
            for figure in present:
                yield figure, phase, f"{figure.cpu_s / present[0].cpu_s:.2f}"


def _cold_starts(results: Results, delays: Sequence[int]) -> str:
    head = ["objects", "round trip", "client", "init: CPU ms", "time ms", "first event: CPU ms"]
    head += ["time ms", "both: CPU ms", "time ms", "requests"]
    rows = [
        (
            objects,
            *_delay_and_client(start),
            *(
                f"{seconds * 1000:.0f}"
                for seconds in (
                    *(start.init_cpu_s, start.init_wall_s),
                    *(start.event_cpu_s, start.event_wall_s),
                    *(start.total_cpu_s, start.total_wall_s),
                )
            ),
            f"{start.aws_requests:g} + {start.google_requests:g}",
        )
        for objects, delay, client in product((1, PER_EVENT), delays, (*CLIENTS, AS_SHIPPED))
        if (start := results.start(client, delay, objects))
    ]
    return table(head, rows, text_columns=3)


def _delay_and_client(measured: Sample | ColdStart) -> tuple[str, str]:
    return f"{measured.delay_ms} ms", measured.client


def _requests(figure: Sample) -> tuple[str, str]:
    """Return requests and round trips with up to two digits."""
    s3, gcs, trips = (
        f"{round(value, 2):g}"
        for value in (figure.s3_requests, figure.gcs_requests, figure.round_trips)
    )
    return f"{s3} + {gcs}", trips
