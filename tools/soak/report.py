"""The report in Markdown."""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from tools.common.hardware import processor
from tools.common.tables import duration, size, table
from tools.soak.cloud import RETRY_AFTER_S, RETRY_DELAYS_S, SHORTER, WAITS
from tools.soak.event_shuffler import LONGEST_DELAY_S
from tools.soak.fault_injector import FUNCTION_OPERATIONS, UPLOAD_FACTOR
from tools.soak.keys import BEYOND_RCLONE
from tools.soak.run import SoakResult
from tools.soak.stats import percentile


def markdown(result: SoakResult) -> str:
    """Return the whole report."""
    stats = result.stats
    outcomes = Counter(each.reason for each in stats.successes)
    faults = Counter(fault["kind"] for fault in result.faults)
    requests = {k: n for k, n in result.requests.items() if k in FUNCTION_OPERATIONS}
    parts = [
        "# Soak",
        _introduction(result),
        table(("compared by", "objects", "missing", "different", "extra"), _comparisons(result)),
        _leftovers(result),
        table(("outage of", *_OUTAGE), _outages(result)),
        "![Lag and throughput over time](soak-lag.svg)",
        table(("lag of a change", "p50", "p95", "p99", "max"), _lags(result)),
        """\
The lag is the time from the change in S3 to the end of the first successful run for its own event.
It includes waiting and retries. *Without delays* leaves out what the soak delayed.""",
        "## Load and faults",
        _counts("changes in S3", stats.changes),
        table(("deliveries", "number"), _counted(result, _DELIVERIES)),
        table(("large objects", "number"), _large(result)),
        _counts("faults of GCS", faults),
        "## Results",
        _counts("results", outcomes),
        _counts("failures, by code", stats.failures),
        _counts("requests to GCS", requests),
        _totals(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduction(result: SoakResult) -> str:
    options = result.options
    verdict = "NOT EQUAL, or something is left open."
    if not result.findings.problems:
        verdict = "Equal, and nothing was redriven."
    first, longest = WAITS["RETRY_FIRST_SECONDS"], WAITS["RETRY_LONGEST_SECONDS"]
    retries = " and ".join(f"{seconds:g} s" for seconds in RETRY_DELAYS_S)
    return f"""\
`make soak` prints this report and writes it to `.cache/soak`.

**{verdict}** `{options.command}`, {result.when:%Y-%m-%d %H:%M} UTC, on {processor()}, \
Python {platform.python_version()}.

- {options.workers} Lambda runtimes run at the same time in AWS's emulator; \
`REPLICATE_DELETES=true`
- {options.with_gzip} of them send compressed what gets smaller (`COMPRESS_EGRESS=true`), and \
{options.gzip:.0%} of the contents are text
- The source changes while events are delivered: {options.duplicates:.0%} of them twice,
  {options.delayed:.0%} up to {LONGEST_DELAY_S:g} s late, so in any order
- {options.faults:.0%} of the requests to GCS fail, {options.faults * UPLOAD_FACTOR:.0%} of those \
of resumable uploads
- GCS, its token service and S3 have an outage of {options.outage_s:g} s each: all requests of the
  function get no response, or a 503 that asks for another try {RETRY_AFTER_S} s later. Everybody
  else reaches them, and the source goes on changing
- Executions of the state machine copy objects from {options.sizes["LARGE_FROM"]} on in slices; \
every {options.stop_every_s:g} s on
  average one is stopped, and its workers go on
- A function's process gets a SIGKILL every {options.kill_every_s:g} s on average
- A failed event is retried after {retries} by Lambda, then after {first} to {longest} s by the
  event queue. These waits are those of AWS and of the template divided by {SHORTER}

The same seed makes the same changes. Which request gets which fault also depends on the machine."""


def _comparisons(result: SoakResult) -> Iterator[tuple[object, ...]]:
    for each in result.findings.comparisons:
        yield each.method, each.compared, each.missing, each.different, each.extra


def _leftovers(result: SoakResult) -> str:
    stats, findings = result.stats, result.findings
    expected = findings.open_sessions - findings.unexpected_sessions
    lines = f"""\
- The reconcile wrote a page, too: [a picture of it](soak-reconcile.png)
- rclone does not compare keys that it takes for folders or does not list (`{BEYOND_RCLONE}/`)
- GCS was listed {stats.counts["listings"]} times during the run: \
{stats.counts["objects seen"]} objects seen,
  {len(stats.never_in_source)} with bytes that S3 had never held under their name
- Upload sessions left open that the function could have cancelled: {findings.unexpected_sessions}
- Left open that it could not: {expected} (the process was killed, the response that named the
  session was lost, or the request to cancel failed)
- Parts left of versions that were overwritten while they were copied: {findings.parts_left} (the
  bucket's lifecycle rule deletes these)"""
    return "\n".join([lines, *(f"- **{problem}**" for problem in findings.problems)])


_OUTAGE = ("after", "lasted", "refused requests", "changes", "half arrived after", "all after")


def _outages(result: SoakResult) -> Iterator[tuple[object, ...]]:
    for each in result.stats.outages:
        tails = result.stats.tails(each)
        half, last = percentile(tails, 50), max(tails, default=0.0)
        times = duration(each.start), duration(each.end - each.start)
        yield each.service, *times, each.refused, len(tails), duration(half), duration(last)


def _lags(result: SoakResult) -> Iterator[tuple[str, ...]]:
    arrivals = result.stats.arrivals()
    for name, lags in (
        ("all", [each.lag_s for each in arrivals]),
        ("without delays", [max(0.0, each.lag_s - each.held_back_s) for each in arrivals]),
    ):
        percentiles = [percentile(lags, percent) for percent in (50, 95, 99)]
        yield name, *map(duration, [*percentiles, max(lags, default=0.0)])


_DELIVERIES = (
    "events",
    "duplicates",
    "delayed",
    "deliveries of several records",
    "invocations",
    "retries",
    "handed to the event queue",
    "retries of the queue",
    "processes killed",
    "of these during an invocation",
    "dead letters",
)
_LARGE = ("steps of executions", "steps killed", "looks after executions", "executions stopped")


def _counted(result: SoakResult, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    for name in names:
        yield name, result.stats.counts[name]


def _large(result: SoakResult) -> Iterator[tuple[str, int]]:
    yield "changes of large objects", result.large
    for status, number in sorted(result.executions.items()):
        yield f"executions: {status.lower()}", number
    yield from _counted(result, _LARGE)


def _totals(result: SoakResult) -> str:
    stats = result.stats
    written_s, settled_s, end_s = (stats.marks[phase] for phase in ("written", "settled", "end"))
    copied = sum(each.bytes_copied for each in stats.successes)
    sent = sum(each.bytes_sent for each in stats.successes)
    return f"""\
- {size(stats.bytes_written)} written to S3, {size(copied)} copied to GCS
- {size(sent)} sent for these: gzip saved {size(copied - sent)}
- On average {len(stats.successes) / settled_s:.1f} results and {size(copied / settled_s)} per \
second, duplicates included
- Most memory that a function's process held: {size(stats.peak_rss_bytes)}
- {duration(written_s)} of changes, {duration(settled_s)} until all had arrived, \
{duration(end_s)} with the comparison"""


def _counts(name: str, counts: Mapping[str, int]) -> str:
    """Return a table, the largest count first, with the sum of several."""
    return table((name, "number"), _with_sum(counts))


def _with_sum(counts: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    yield from sorted(counts.items(), key=lambda each: -each[1])
    if len(counts) > 1:
        yield "**all**", sum(counts.values())
