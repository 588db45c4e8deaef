"""The run as an SVG: lag and throughput over the same time, and what got in the way."""

from collections.abc import Iterable, Iterator

from tools.soak.canvas import WIDTH, Panel, Time
from tools.soak.lag_panel import LagPanel
from tools.soak.run import Result
from tools.soak.throughput import throughput
from tools.soak.throughput_panel import ThroughputPanel

HEIGHT = 680
LAG, OBJECTS, MIB = Panel(50, 330), Panel(400, 520), Panel(570, 640)
STORM_GAP_S = 6.0

_LIGHT = (
    "text{font:12px sans-serif;fill:#333}.heading{font-weight:bold}.paper{fill:#fff}"
    ".grid{stroke:#ddd}.dots{stroke-width:3;stroke-linecap:round;stroke-opacity:.35}"
    ".kills{stroke-width:1.5}.line{fill:none;stroke-width:2}.storm{fill-opacity:.12}"
    ".bar{fill-opacity:.85}.dots{stroke:#4078c0}.write{fill:#4078c0}.touch{fill:#b58900}"
    ".nothing{fill:#a0a8b0}.line.median{stroke:#1a7f37}.line.most{stroke:#bf5b04}"
    "circle.median{fill:#1a7f37}circle.most{fill:#bf5b04}.kills{stroke:#b00}.storm,.trouble{fill:#b00}"
)
_DARK = (
    "text{fill:#c9d1d9}.paper{fill:#0d1117}.grid{stroke:#30363d}.dots{stroke:#6cb6ff}"
    ".write{fill:#6cb6ff}.touch{fill:#e3b341}.nothing{fill:#768390}.line.median{stroke:#57ab5a}"
    ".line.most{stroke:#f0883e}circle.median{fill:#57ab5a}circle.most{fill:#f0883e}"
    ".kills{stroke:#ff7b72}.storm,.trouble{fill:#ff7b72}"
)
_STYLE = f"{_LIGHT}@media(prefers-color-scheme:dark){{{_DARK}}}"


def svg(result: Result) -> str:
    """The picture."""
    ledger = result.ledger
    arrivals, successes = ledger.arrivals(), ledger.successes
    time = Time(max([ledger.marks["settled"], *(each.at for each in arrivals)]))
    outages = [f["at"] - ledger.started for f in result.faults if f["kind"] == "503 in an outage"]
    body = [
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *_storms(time, outages),
        *LagPanel(LAG, time, arrivals).draw(),
        *ThroughputPanel(OBJECTS, MIB, time, throughput(successes, time.end_s)).draw(),
        f'<path class="kills" d="{_kills(time, ledger.kills)}"/>',
        *time.labels(HEIGHT - 20),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>Lag and throughput of a soak</title><style>{_STYLE}</style>\n"
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _kills(time: Time, kills: Iterable[float]) -> str:
    return "".join(f"M{time.x(at):g} {LAG.bottom}v-10" for at in kills)


def _storms(time: Time, outages: list[float]) -> Iterator[str]:
    """A band for each group of refused requests, through all panels."""
    groups: list[list[float]] = []
    for at in sorted(outages):
        if groups and at - groups[-1][-1] < STORM_GAP_S:
            groups[-1].append(at)
        else:
            groups.append([at])
    for group in groups:
        left, right = time.x(group[0]), time.x(group[-1])
        for panel in (LAG, OBJECTS, MIB):
            yield (
                f'<rect class="storm" x="{left:g}" y="{panel.top}"'
                f' width="{max(1.0, right - left):g}" height="{panel.bottom - panel.top}"/>'
            )
