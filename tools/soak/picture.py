"""The picture of a run: lag and throughput over time, with outages and kills."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tools.common.plots import BLUE, GREEN, GREY, ORANGE, RED, picture
from tools.common.sizes import MIB
from tools.soak.stats import Arrival, RunStats, Success, percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW_S = 3.0
"""Seconds of changes that one point of the throughput stands for."""

SHORTEST_LAG_S = 0.03
"""Where the axis of the lag begins."""

LAG_TICKS_S = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)

WRITTEN, CHANGED, UNCHANGED = "object written", "metadata changed or deleted", "nothing to do"
COLORS = {WRITTEN: BLUE, CHANGED: ORANGE, UNCHANGED: GREY}
WORK = {
    "created": WRITTEN,
    "overwritten": WRITTEN,
    "metadata_updated": CHANGED,
    "deleted": CHANGED,
}


def draw(path: Path, stats: RunStats) -> None:
    """Write the picture as SVG."""
    with picture(path, 9.6, 6.8) as figure:
        lag, changes, mib = figure.subplots(3, sharex=True, height_ratios=(4, 2, 1.2))
        _draw_lag(lag, stats.arrivals())
        lag.plot(
            stats.kills,
            [0.02] * len(stats.kills),
            "|",
            color=RED,
            transform=lag.get_xaxis_transform(),
            label="a runtime is killed",
        )
        for outage in stats.outages:
            for panel in (lag, changes, mib):
                panel.axvspan(outage.start, outage.end, color=RED, alpha=0.12, linewidth=0)
            changes.text(
                (outage.start + outage.end) / 2,
                0.5,
                outage.service,
                color=RED,
                ha="center",
                transform=changes.get_xaxis_transform(),
                clip_on=True,
            )
        end_s = stats.marks["settled"]
        edges = [WINDOW_S * number for number in range(int(end_s / WINDOW_S) + 2)]
        _draw_throughput(changes, stats.successes, edges)
        mib.hist(
            [each.at for each in stats.successes],
            edges,
            weights=[each.bytes_copied / MIB / WINDOW_S for each in stats.successes],
            histtype="stepfilled",
            color=BLUE,
        )
        lag.legend(ncols=5, loc="upper left")
        changes.legend(ncols=3, loc="upper left")
        lag.set_title("Lag of each change (s); a band is an outage")
        changes.set_title("Results per second")
        mib.set_title("MiB per second written to GCS")
        mib.set(xlabel="seconds since the start", xlim=(0, end_s))


def _draw_lag(axes: "Axes", arrivals: Sequence[Arrival]) -> None:
    axes.set(yscale="log", yticks=LAG_TICKS_S, yticklabels=[f"{tick:g}" for tick in LAG_TICKS_S])
    axes.minorticks_off()
    highest = max([1.0, *(each.lag_s for each in arrivals)])
    axes.set_ylim(SHORTEST_LAG_S, 3 * highest)  # room for the legend
    axes.plot(
        [each.at for each in arrivals],
        [max(each.lag_s, SHORTEST_LAG_S) for each in arrivals],
        ".",
        color=BLUE,
        alpha=0.3,
        markersize=3,
        rasterized=True,  # thousands of points are smaller as pixels
        label="a change",
    )
    windows: dict[int, list[float]] = {}
    for each in arrivals:
        windows.setdefault(int(each.at / WINDOW_S), []).append(each.lag_s)
    times = [(number + 0.5) * WINDOW_S for number in windows]
    axes.plot(times, [median(lags) for lags in windows.values()], color=GREEN, label="median")
    axes.plot(
        times, [percentile(lags, 95) for lags in windows.values()], color=ORANGE, label="95 %"
    )


def _draw_throughput(axes: "Axes", successes: Sequence[Success], edges: Sequence[float]) -> None:
    times = [
        [each.at for each in successes if WORK.get(each.reason, UNCHANGED) == work]
        for work in COLORS
    ]
    axes.hist(
        times,
        edges,
        weights=[[1 / WINDOW_S] * len(each) for each in times],
        stacked=True,
        histtype="stepfilled",
        color=list(COLORS.values()),
        label=list(COLORS),
    )
