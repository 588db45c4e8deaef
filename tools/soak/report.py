"""The report: Markdown that also reads well in a terminal."""

import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tools.common.tables import duration, size
from tools.soak.keys import BEYOND_RCLONE
from tools.soak.percentiles import percentile
from tools.soak.run import Result
from tools.soak.weather import STORM_S, STRUCK, UPLOADS
from tools.soak.workers import RETRY_DELAYS_S

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def markdown(result: Result) -> str:
    """The whole report."""
    parts = [
        "# Soak",
        _introduction(result),
        _table(("compared by", "objects", "missing", "different", "extra"), _comparisons(result)),
        _left(result),
        "![Lag and throughput over time](soak-lag.svg)",
        _table(("lag of a change", *SHARES), _lags(result)),
        _LAG,
        "## What was done",
        _table(("changes in S3", "number"), _sorted(result.ledger.changes)),
        _table(("deliveries", "number"), _deliveries(result)),
        _table(("faults of GCS", "number"), _sorted(Counter(f["kind"] for f in result.faults))),
        "## What came of it",
        _table(("changes found done or carried out", "number"), _sorted(_outcomes(result))),
        _table(("failures, by code", "number"), _sorted(result.ledger.failures)),
        _table(("requests to GCS", "number"), _sorted(_of_the_function(result.requests))),
        _figures(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_LAG = """\
From the moment of the change in S3 to the end of the first successful run for its own event: with
all waiting, retries and redriving. *Own* leaves out what the soak held back on purpose."""


def _introduction(result: Result) -> str:
    options = result.options
    verdict = "NOT EQUAL, or something is left." if result.verdict.problems else "Equal."
    retries = " and ".join(f"{seconds:g} s" for seconds in RETRY_DELAYS_S)
    return f"""\
What `make soak` prints, and keeps in `.cache/soak`.

**{verdict}** `{options.command}`, {result.when:%Y-%m-%d %H:%M} UTC, on {_machine()}.

- {options.workers} Lambda runtimes at once, in AWS's emulator; `REPLICATE_DELETES=true`
- the source goes on changing while events are delivered: {options.duplicates:.0%} of them twice,
  {options.delayed:.0%} held back for up to 10 s, and so in any order
- {options.faults:.0%} of the requests to GCS spoiled, {options.faults * UPLOADS:.0%} of those of \
resumable uploads; and an outage
  of {STORM_S:g} s every {options.storm_every_s:g} s
- a SIGKILL for a function's process every {options.kill_every_s:g} s on average
- Lambda's two retries after {retries} (there it is one and two minutes), then the failure list;
  what is on it is delivered again when the faults have stopped

The same seed makes the same changes; which request meets which fault is up to the machine, too."""


def _comparisons(result: Result) -> Iterable[tuple[object, ...]]:
    for each in result.verdict.comparisons:
        yield each.name, each.compared, each.missing, each.different, each.extra


def _left(result: Result) -> str:
    counts, verdict = result.ledger.counts, result.verdict
    found = f"""\
- rclone is not asked about keys it takes for folders or does not list (`{BEYOND_RCLONE}/`)
- looked at GCS {counts["looks"]} times during the run: {counts["seen"]} objects seen,
  {len(result.ledger.wrong)} with bytes that S3 had never held under their name
- upload sessions left open that somebody could have cancelled: {verdict.cancellable}
- left open that nobody could have: {verdict.open_sessions - verdict.cancellable} (the process was \
killed, or the answer was lost that
  named the session, or the cancelling itself was spoiled)"""
    return "\n".join([found, *(f"- **{problem}**" for problem in verdict.problems)])


def _lags(result: Result) -> Iterable[tuple[object, ...]]:
    arrivals = result.ledger.arrivals()
    for name, values in (
        ("in all", [each.lag_s for each in arrivals]),
        ("own", [max(0.0, each.lag_s - each.held_back_s) for each in arrivals]),
    ):
        yield name, *(duration(percentile(values, share)) for share in SHARES.values())


def _deliveries(result: Result) -> Iterable[tuple[object, ...]]:
    counts = result.ledger.counts
    for name in (
        "events",
        "duplicates",
        "held back",
        "deliveries of several records",
        "invocations",
        "retries",
        "kept as failed",
        "redriven",
    ):
        yield name, counts[name]
    yield "runtimes killed", len(result.ledger.kills)
    yield "of these amid an invocation", result.ledger.failures["Runtime.ExitError"]


def _outcomes(result: Result) -> Counter[str]:
    return Counter(each.reason for each in result.ledger.successes)


def _figures(result: Result) -> str:
    ledger = result.ledger
    marks = ledger.marks
    copied = sum(each.bytes_copied for each in ledger.successes)
    rate = len(ledger.successes) / marks["settled"]
    return f"""\
- {size(ledger.bytes_written)} written to S3, {size(copied)} copied to GCS
- {rate:.1f} changes found done or carried out per second on average, duplicates included, and \
{size(round(copied / marks["settled"]))} copied
- {size(ledger.peak_rss_bytes)} held at most by a function's process
- {duration(marks["written"])} of changes, {duration(marks["settled"])} until all had arrived, \
{duration(marks["end"])} with the comparison"""


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose columns line up in a terminal, too; nothing of no rows."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[n]) for row in (list(heads), *cells)) for n in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if not n else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]) + " |"
    return "\n".join([line(heads), rule, *(line(row) for row in cells)])


def _of_the_function(requests: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in requests.items() if name in STRUCK}


def _sorted(counts: Mapping[str, int]) -> Iterable[tuple[object, ...]]:
    yield from sorted(counts.items(), key=lambda each: -each[1])
    if len(counts) > 1:
        yield "**all**", sum(counts.values())


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"
