"""Where things are in the picture: one axis of time, and panels below each other."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

WIDTH = 960
LEFT, RIGHT = 60, 20
CHARACTER_PX = 6.4
SMALLEST_TIME_STEP_S = 10


@dataclass(frozen=True, slots=True)
class Time:
    """Seconds of the run, to the right."""

    end_s: float

    def x(self, at: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * at / self.end_s, 1)

    def labels(self, y: int) -> Iterator[str]:
        step = max(SMALLEST_TIME_STEP_S, round(self.end_s / 8 / 10) * 10)
        for at in range(0, int(self.end_s) + 1, step):
            yield f'<text x="{self.x(at):g}" y="{y}" text-anchor="middle">{at} s</text>'


@dataclass(frozen=True, slots=True)
class Panel:
    """A stripe of the picture, in which values go upwards."""

    top: int
    bottom: int

    def y(self, share: float) -> float:
        """Of a value, as a share of the panel's height."""
        return round(self.bottom - (self.bottom - self.top) * share, 1)

    def rule(self, share: float, label: str) -> Iterator[str]:
        """A line across, and what it stands for."""
        y = self.y(share)
        yield f'<path class="grid" d="M{LEFT} {y:g}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:g}" text-anchor="end">{label}</text>'

    def heading(self, text: str, above: int = 30) -> str:
        """The panel's title: by default with room for a legend below it."""
        return f'<text class="heading" x="{LEFT}" y="{self.top - above}">{text}</text>'

    def legend(self, *entries: tuple[str, str]) -> Iterator[str]:
        """Classes of what is drawn, and what it is."""
        x: float = LEFT
        for name, text in entries:
            yield f'<circle class="{name}" cx="{x + 5:g}" cy="{self.top - 14}" r="4"/>'
            yield f'<text x="{x + 14:g}" y="{self.top - 10}">{text}</text>'
            x = round(x + 34 + len(text) * CHARACTER_PX)


def round_step(highest: float, steps: int) -> float:
    """The smallest of 1, 2, 5, 10, … (and 0.5, 0.2, …) that reaches `highest` in so many steps."""
    magnitude = 10.0 ** math.floor(math.log10(highest / steps))
    return next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude * steps >= highest)
