"""Lag over time: a dot for each change, and lines of shares."""

import math
from collections.abc import Iterator

from tools.soak.canvas import Panel, Time
from tools.soak.ledger import Arrival
from tools.soak.percentiles import percentile

SMALLEST_S = 0.03
TICKS_S = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
LINES = {"median": 0.5, "most": 0.95}
BUCKET_S = 3.0
MAX_DOTS = 6000


class LagPanel:
    """Seconds of lag upwards, logarithmic."""

    def __init__(self, panel: Panel, time: Time, arrivals: list[Arrival]) -> None:
        self._panel = panel
        self._time = time
        self._arrivals = arrivals
        self._highest_s = 1.2 * max([1.0, *(each.lag_s for each in arrivals)])

    def draw(self) -> Iterator[str]:
        for lag_s in TICKS_S:
            if lag_s <= self._highest_s:
                yield from self._panel.rule(self._share(lag_s), f"{lag_s:g} s")
        yield f'<path class="dots" d="{self._dots()}"/>'
        for name, share in LINES.items():
            yield f'<polyline class="line {name}" points="{self._line(share)}"/>'
        yield self._panel.heading("Lag of each change")
        yield from self._panel.legend(
            ("write", "a change"),
            ("median", "median"),
            ("most", "95 %"),
            ("trouble", "tick: a runtime is killed; band: an outage of GCS"),
        )

    def _dots(self) -> str:
        step = len(self._arrivals) // MAX_DOTS + 1
        return "".join(
            f"M{self._time.x(each.at):g} {self._y(each.lag_s):g}h0"
            for each in self._arrivals[::step]
        )

    def _line(self, share: float) -> str:
        buckets: dict[int, list[float]] = {}
        for each in self._arrivals:
            buckets.setdefault(int(each.at // BUCKET_S), []).append(each.lag_s)
        return " ".join(
            f"{self._time.x((n + 0.5) * BUCKET_S):g},{self._y(percentile(lags, share)):g}"
            for n, lags in sorted(buckets.items())
        )

    def _y(self, lag_s: float) -> float:
        return self._panel.y(self._share(lag_s))

    def _share(self, lag_s: float) -> float:
        least = max(lag_s, SMALLEST_S) / SMALLEST_S
        return math.log(least) / math.log(self._highest_s / SMALLEST_S)
