"""The picture of a benchmark: each peer's CPU or time as a multiple of the replicator's."""

from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path

from tools.benchmarks.clients.base import PER_EVENT, Phase
from tools.benchmarks.figures import (
    AS_SHIPPED,
    COPY,
    DAEMON,
    LATENCY_MS,
    OURS,
    SMALL,
    TUTORIAL,
    Results,
)
from tools.common.plots import BLUE, GREEN, GREY, ORANGE, picture
from tools.common.tables import size

COLORS = {TUTORIAL: BLUE, AS_SHIPPED: GREY, DAEMON: GREEN, COPY: ORANGE}
TICKS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
BAR_HEIGHT = 0.26

Ratios = dict[str, dict[str, float]]
"""By what is compared, and by peer."""


def draw(path: Path, ratios: Ratios) -> None:
    """Write the picture as SVG. Bars begin at 1, on a logarithmic axis."""
    with picture(path, 9.6, 1 + 0.6 * len(ratios)) as figure:
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        for client, color in COLORS.items():
            bars = [
                (
                    row + BAR_HEIGHT * (list(group).index(client) - (len(group) - 1) / 2),
                    group[client],
                )
                for row, group in enumerate(ratios.values())
                if client in group
            ]
            drawn = axes.barh(
                [y for y, _ in bars],
                [ratio - 1 for _, ratio in bars],
                BAR_HEIGHT,
                left=1,
                color=color,
                label=client,
            )
            labels = [f"{ratio:.2f}" for _, ratio in bars]
            axes.bar_label(drawn, labels, padding=3, fontsize="small")
        axes.axvline(1, color="black", linewidth=1)
        axes.set_yticks(range(len(ratios)), list(ratios))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        axes.set_title("Peers compared with the replicator (1): a bar to the right takes more")
        axes.legend(loc="upper right")


def compare(results: Results, large: int, largest: int) -> Ratios:
    """Return what the picture shows, without what has no peer. `large` and `largest` are sizes."""
    at = f"at {LATENCY_MS} ms: time"
    which = {
        "new 10 KiB: CPU": (SMALL, Phase.NEW, 0),
        "unchanged 10 KiB: CPU": (SMALL, Phase.AGAIN, 0),
        f"new 10 KiB {at}": (SMALL, Phase.NEW, LATENCY_MS),
        f"{PER_EVENT} new 10 KiB in an event {at}": (SMALL, Phase.BATCHES, LATENCY_MS),
        f"new {size(large)}: CPU": (large, Phase.NEW, 0),
        f"new {size(largest)}: CPU": (largest, Phase.NEW, 0),
        f"new {size(large)} {at}": (large, Phase.NEW, LATENCY_MS),
    }
    clients = (OURS, *COLORS)
    compared = {
        what: _ratios(
            {client: results.figure(client, *workload) for client in clients},
            "wall_s" if what.endswith("time") else "cpu_s",
        )
        for what, workload in which.items()
    }
    starts = {client: results.start(client) for client in clients}
    compared["cold start to the first object: CPU"] = _ratios(starts, "total_cpu_s")
    return {what: ratios for what, ratios in compared.items() if ratios}


def _ratios(by_client: Mapping[str, object], field: str) -> dict[str, float]:
    values = {client: attrgetter(field)(each) for client, each in by_client.items() if each}
    ours = values.pop(OURS, None)
    return {client: value / ours for client, value in values.items() if ours}
