"""The picture of a benchmark: what the peers take, as a multiple of what the replicator takes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from tools.benchmarks.measure import Sample
from tools.common.plots import BLUE, GREEN, GREY, ORANGE, picture
from tools.common.tables import size

COLORS = {TUTORIAL: BLUE, AS_SHIPPED: GREY, DAEMON: GREEN, COPY: ORANGE}
BAR_HEIGHT = 0.25


@dataclass(frozen=True, slots=True)
class Group:
    """What is compared, and each peer's multiple of the replicator's figure."""

    what: str
    ratios: dict[str, float]


def draw(path: Path, results: Results, large: int, largest: int) -> None:
    """Write the picture as SVG. `large` and `largest` are 1 and 4 GiB in a full run."""
    found = [group for group in groups(results, large, largest) if group.ratios]
    with picture(path, 9.6, 1.2 + 0.7 * len(found)) as figure:
        axes = figure.subplots()
        for client, color in COLORS.items():
            bars = [
                (row + BAR_HEIGHT * list(group.ratios).index(client), group.ratios[client])
                for row, group in enumerate(found)
                if client in group.ratios
            ]
            drawn = axes.barh(
                [at for at, _ in bars], [ratio for _, ratio in bars], BAR_HEIGHT, color=color
            )
            drawn.set_label(client)
            axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize="small")
        axes.axvline(1, color="black", linewidth=1)
        centers = [n + BAR_HEIGHT * (len(group.ratios) - 1) / 2 for n, group in enumerate(found)]
        axes.set_yticks(centers, [group.what for group in found])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        axes.set_title("Peers compared with the replicator (1): right of the line, they take more")
        axes.legend(loc="lower right")


def groups(results: Results, large: int, largest: int) -> Iterator[Group]:
    """Yield the comparisons from the top of the picture to its bottom."""

    def compared(
        what: str, objects: int, phase: Phase, value: Callable[[Sample], float], delay: int = 0
    ) -> Group:
        figures = {c: results.figure(c, objects, phase, delay) for c in (OURS, *COLORS)}
        values = {client: value(each) for client, each in figures.items() if each}
        ours = values.pop(OURS, 0.0)
        return Group(what, {c: each / ours for c, each in values.items()} if ours else {})

    def cpu(sample: Sample) -> float:
        return sample.cpu_s

    def time(sample: Sample) -> float:
        return sample.wall_s

    at = f"at {LATENCY_MS} ms"
    yield compared("new 10 KiB: CPU", SMALL, Phase.NEW, cpu)
    yield compared("unchanged 10 KiB: CPU", SMALL, Phase.AGAIN, cpu)
    yield compared(f"new 10 KiB {at}: time", SMALL, Phase.NEW, time, LATENCY_MS)
    in_one = f"{PER_EVENT} new 10 KiB in an event {at}: time"
    yield compared(in_one, SMALL, Phase.BATCHES, time, LATENCY_MS)
    for each in (large, largest):
        yield compared(f"new {size(each)}: CPU", each, Phase.NEW, cpu)
    yield compared(f"new {size(large)} {at}: time", large, Phase.NEW, time, LATENCY_MS)
    ours = results.start(OURS)
    starts = {client: results.start(client) for client in COLORS}
    yield Group(
        "cold start to the first object: CPU",
        {c: s.total_cpu_s / ours.total_cpu_s for c, s in starts.items() if s and ours},
    )
