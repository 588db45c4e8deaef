"""Throughput over time: bars of objects per second by what was done, and of MiB per second."""

from collections.abc import Iterator, Mapping, Sequence

from tools.soak.canvas import Panel, Time, round_step
from tools.soak.throughput import Throughput, Work

STEPS = 3
LEGEND = {
    Work.WRITE: "created or overwritten",
    Work.TOUCH: "metadata changed, or deleted",
    Work.NOTHING: "nothing left to do",
}


class ThroughputPanel:
    """Two stripes: objects above, bytes below."""

    def __init__(self, objects: Panel, mib: Panel, time: Time, rates: Throughput) -> None:
        self._objects = objects
        self._mib = mib
        self._time = time
        self._rates = rates

    def draw(self) -> Iterator[str]:
        yield self._objects.heading("Throughput: changes per second, by what they took")
        yield from self._objects.legend(*((work, LEGEND[work]) for work in LEGEND))
        yield from self._stripe(self._objects, self._rates.objects)
        yield self._mib.heading("Throughput: MiB per second written to GCS", above=12)
        yield from self._stripe(self._mib, {Work.WRITE: self._rates.mib})

    def _stripe(self, panel: Panel, rates: Mapping[Work, Sequence[float]]) -> Iterator[str]:
        """Bars on top of each other, on a scale of their own."""
        highest = max(0.1, *(sum(each) for each in zip(*rates.values(), strict=True)))
        step = round_step(highest, STEPS)
        for number in range(STEPS + 1):
            yield from panel.rule(number / STEPS, f"{step * number:g}")
        below = [0.0] * len(self._rates.mib)
        for work, each in rates.items():
            above = [low + rate for low, rate in zip(below, each, strict=True)]
            bars = self._bars(
                panel, [n / step / STEPS for n in below], [n / step / STEPS for n in above]
            )
            yield f'<path class="bar {work}" d="{bars}"/>'
            below = above

    def _bars(self, panel: Panel, below: Sequence[float], above: Sequence[float]) -> str:
        found = []
        for number, (low, high) in enumerate(zip(below, above, strict=True)):
            left = self._time.x(number * self._rates.window_s)
            right = self._time.x((number + 1) * self._rates.window_s)
            if high > low:
                found.append(
                    f"M{left:g} {panel.y(low):g}V{panel.y(high):g}H{right:g}V{panel.y(low):g}z"
                )
        return "".join(found)
