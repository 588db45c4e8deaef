"""The figures as a page of markdown."""

import os
import platform
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.benchmarks.clients.base import PER_EVENT, Phase
from tools.benchmarks.figures import (
    AS_SHIPPED,
    COPY,
    DAEMON,
    FLAT_FROM,
    OURS,
    TUTORIAL,
    Figure,
    Results,
    bars,
)
from tools.benchmarks.measure import MIB, Workload, size_text

CLIENTS = (OURS, TUTORIAL, DAEMON, COPY)

_ABOUT = """\
# Measured

Written by `make bench`; what it means and how it is measured: [PERFORMANCE.md](PERFORMANCE.md).
Medians of all rounds. "times" is the ratio to the replicator's CPU in the same run: only ratios are
worth quoting. Requests are those to S3 + those to GCS."""

_ABOUT_BARS = """\
Limits on CPU and time are ratios within this run: they hold on any machine. For the CPU of a new
object of 10 KiB the goal beyond the bar is 0.8; the tutorial's function checks nothing."""

_SMALL = """\
Per object. All clients but `rclone copy` are told of one object after the other."""

_COLD = """\
Init: imports, and all clients made (the tutorial's reads its secret then). First event: token,
connections, and its new objects of 10 KiB. Requests are those to AWS + those to Google, from the
start of the process to its end. `sam build` ships no .pyc files."""


def page(
    results: Results,
    workloads: Sequence[Workload],
    delays: Sequence[int],
    setting: Mapping[str, str],
) -> str:
    """All tables, the machine and the date."""
    large = [workload for workload in workloads if workload.size >= FLAT_FROM]
    small = [workload for workload in workloads if workload.size < FLAT_FROM]
    facts = [f"- {name}: {value}" for name, value in {**_machine(), **setting}.items()]
    parts = [
        _ABOUT,
        "\n".join(facts),
        "## Bars",
        _ABOUT_BARS,
        _bars(results, large),
        "## Large objects",
        _large(results, large, delays),
        "## Small objects",
        _SMALL,
        _small(results, small, delays),
        "## Cold start",
        _COLD,
        _cold(results, delays),
    ]
    return "\n\n".join(parts) + "\n"


def _machine() -> dict[str, str]:
    model = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Machine": f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, {system}",
        "Python": f"{platform.python_version()}, {_optimised()} profile-guided optimisation",
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bars(results: Results, large: Sequence[Workload]) -> str:
    rows = [
        (
            bar.what,
            f"≤ {bar.limit:.3g} {bar.unit}",
            f"{bar.measured:.4g} {bar.unit}",
            "met" if bar.met else "**not met**",
        )
        for bar in bars(results, large[-2].size, large[-1].size)
    ]
    return _table(["what", "bar", "measured", ""], rows)


def _figures(
    results: Results, size: int, phase: Phase, delays: Sequence[int]
) -> Iterator[tuple[int, Figure, float]]:
    """Of every client, and its CPU as a multiple of ours."""
    for delay in delays:
        found = [results.figure(client, size, phase, delay) for client in CLIENTS]
        present = [figure for figure in found if figure is not None]
        for figure in present:
            yield delay, figure, figure.cpu_s / present[0].cpu_s


def _large(results: Results, workloads: Sequence[Workload], delays: Sequence[int]) -> str:
    rows = [
        (
            size_text(workload.size),
            f"{delay} ms",
            figure.client,
            f"{figure.cpu_s_per_gib:.2f}",
            f"{times:.2f}",
            f"{figure.wall_s:.1f}",
            f"{figure.rss_peak / MIB:.0f}",
            f"{(figure.rss_peak - figure.rss_idle) / MIB:.0f}" if figure.rss_idle else "",
            _requests(figure),
            _number(figure.trips),
        )
        for workload in workloads
        for delay, figure, times in _figures(results, workload.size, Phase.NEW, delays)
    ]
    head = ["object", "round trip", "client", "CPU-s/GiB", "times", "time s", "peak RSS MiB"]
    return _table([*head, "above idle", "requests", "in sequence"], rows)


def _small(results: Results, workloads: Sequence[Workload], delays: Sequence[int]) -> str:
    rows = [
        (
            f"{figure.count:,} x {size_text(workload.size)}, {phase}",
            f"{delay} ms",
            figure.client,
            f"{figure.cpu_s * 1000:.2f}",
            f"{times:.2f}",
            f"{figure.wall_s * 1000:.1f}",
            f"{figure.rss_peak / MIB:.0f}",
            _requests(figure),
            _number(figure.trips),
        )
        for workload in workloads
        for phase in workload.phases
        for delay, figure, times in _figures(results, workload.size, phase, delays)
    ]
    head = ["objects", "round trip", "client", "CPU ms", "times", "time ms", "peak RSS MiB"]
    return _table([*head, "requests", "in sequence"], rows)


def _cold(results: Results, delays: Sequence[int]) -> str:
    rows = [
        (
            str(objects),
            f"{delay} ms",
            client,
            f"{start.init_cpu_s * 1000:.0f}",
            f"{start.init_wall_s * 1000:.0f}",
            f"{start.event_cpu_s * 1000:.0f}",
            f"{start.event_wall_s * 1000:.0f}",
            f"{start.first_cpu_s * 1000:.0f}",
            f"{start.first_wall_s * 1000:.0f}",
            " + ".join(map(str, start.requests)),
        )
        for objects in (1, PER_EVENT)
        for delay in delays
        for client in (*CLIENTS, AS_SHIPPED)
        if (start := results.start(client, delay, objects)) is not None
    ]
    head = ["objects", "round trip", "client", "init: CPU ms", "time ms", "first event: CPU ms"]
    return _table([*head, "time ms", "both: CPU ms", "time ms", "requests"], rows)


def _requests(figure: Figure) -> str:
    return " + ".join(map(_number, figure.requests))


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _optimised() -> str:
    """Whether this interpreter was built as distributions build it: it is much faster then."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "with" if "--enable-optimizations" in options else "without"
