"""Lag over time as an SVG: a dot for each change, lines of shares, and what got in the way."""

import math
from collections.abc import Iterable, Iterator

from soak.ledger import Arrival
from soak.percentiles import percentile
from soak.run import Result

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 50, 40
SMALLEST_S = 0.03
TICKS_S = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
LINES = {0.5: "#1a7f37", 0.95: "#bf5b04"}
BUCKET_S = 3.0
MAX_DOTS = 6000

_STYLE = (
    "text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}.dots{stroke:#4078c0;stroke-width:3;"
    "stroke-linecap:round;stroke-opacity:.35}.kills{stroke:#b00;stroke-width:1.5}"
    ".line{fill:none;stroke-width:2}.storm{fill:#b00;fill-opacity:.1}"
)


def svg(result: Result) -> str:
    """The picture."""
    ledger = result.ledger
    arrivals = ledger.arrivals()
    end_s = max([ledger.marks["settled"], *(each.at for each in arrivals)])
    scale = _Scale(end_s, max([1.0, *(each.lag_s for each in arrivals)]))
    outages = [f["at"] - ledger.started for f in result.faults if f["kind"] == "503 in an outage"]
    body = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *_storms(scale, outages),
        *_grid(scale),
        f'<path class="dots" d="{_dots(scale, arrivals)}"/>',
        *(_line(scale, arrivals, share, colour) for share, colour in LINES.items()),
        f'<path class="kills" d="{_ticks(scale, ledger.kills)}"/>',
        *_legend(),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<style>{_STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


class _Scale:
    """Seconds of the run to the right; seconds of lag upwards, logarithmic."""

    def __init__(self, end_s: float, longest_s: float) -> None:
        self.end_s = end_s
        self.longest_s = longest_s

    def x(self, at: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * at / self.end_s, 1)

    def y(self, lag_s: float) -> float:
        share = math.log(max(lag_s, SMALLEST_S) / SMALLEST_S) / math.log(
            self.longest_s * 1.2 / SMALLEST_S
        )
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)


def _dots(scale: _Scale, arrivals: list[Arrival]) -> str:
    step = len(arrivals) // MAX_DOTS + 1
    return "".join(f"M{scale.x(a.at):g} {scale.y(a.lag_s):g}h0" for a in arrivals[::step])


def _line(scale: _Scale, arrivals: list[Arrival], share: float, colour: str) -> str:
    buckets: dict[int, list[float]] = {}
    for each in arrivals:
        buckets.setdefault(int(each.at // BUCKET_S), []).append(each.lag_s)
    points = " ".join(
        f"{scale.x((n + 0.5) * BUCKET_S):g},{scale.y(percentile(lags, share)):g}"
        for n, lags in sorted(buckets.items())
    )
    return f'<polyline class="line" stroke="{colour}" points="{points}"/>'


def _ticks(scale: _Scale, kills: Iterable[float]) -> str:
    return "".join(f"M{scale.x(at):g} {HEIGHT - BOTTOM}v-10" for at in kills)


def _storms(scale: _Scale, outages: list[float]) -> Iterator[str]:
    """A band for each group of refused requests."""
    groups: list[list[float]] = []
    for at in sorted(outages):
        if groups and at - groups[-1][-1] < BUCKET_S * 2:
            groups[-1].append(at)
        else:
            groups.append([at])
    for group in groups:
        left, right = scale.x(group[0]), scale.x(group[-1])
        yield (
            f'<rect class="storm" x="{left:g}" y="{TOP}" width="{max(1.0, right - left):g}"'
            f' height="{HEIGHT - TOP - BOTTOM}"/>'
        )


def _grid(scale: _Scale) -> Iterator[str]:
    for lag_s in TICKS_S:
        if lag_s <= scale.longest_s * 1.2:
            y = scale.y(lag_s)
            yield f'<path class="grid" d="M{LEFT} {y:g}H{WIDTH - RIGHT}"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:g}" text-anchor="end">{lag_s:g} s</text>'
    step = max(10, round(scale.end_s / 8 / 10) * 10)
    for at in range(0, int(scale.end_s) + 1, step):
        x = scale.x(at)
        yield f'<text x="{x:g}" y="{HEIGHT - 15}" text-anchor="middle">{at} s</text>'


def _legend() -> Iterator[str]:
    yield f'<text x="{LEFT}" y="20" font-weight="bold">Lag of each change, over the run</text>'
    entries = (
        ("#4078c0", "a change"),
        (LINES[0.5], "median"),
        (LINES[0.95], "95 %"),
        ("#b00", "tick: a runtime is killed; band: an outage of GCS"),
    )
    x = LEFT
    for colour, text in entries:
        yield f'<circle cx="{x + 5}" cy="36" r="4" fill="{colour}"/>'
        yield f'<text x="{x + 14}" y="40">{text}</text>'
        x += 90
