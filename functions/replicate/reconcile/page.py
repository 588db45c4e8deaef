"""The report of a run as one HTML page that needs nothing else: no script, no other resource.

Keys are hostile text: each value of the summary passes `_text` on its way into page.html. A policy
in that file forbids scripts and requests, should one ever get past it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from math import log2
from string import Template
from typing import Any

Json = Mapping[str, Any]

KINDS = ("missing", "different", "extra", "foreign")

COMPARED = {
    "equal": "the replica states the size, ETag and time of its source",
    "missing": "in S3 only. A repair copies them",
    "different": "on both sides, not equal. A repair copies them again",
    "extra": "replicas without a source",
    "foreign": "objects in GCS that are no replicas. A repair never deletes them",
}
APART = {
    "young": "changed within the grace period: their events may be on the way",
    "filtered": "the stack does not replicate them: prefix or suffix",
    "archived": "in an archive class of S3: not readable before they are restored",
    "unnameable": "GCS does not allow the name",
    "too_large": "larger than GCS can hold (5 TiB)",
    "staged": "parts of large objects, below the staging prefix",
    "kept": "on both sides, not equal: Overwrite keeps what is in GCS",
    "doubtful": "of the equal ones: the MD5 of the replica is not the ETag, as after SSE-KMS",
}
COSTS = {
    "egress_usd": "Egress from AWS",
    "requests_usd": "Requests to S3, GCS and SQS",
    "lambda_usd": "Lambda and its log",
}
FILES = {
    "differences.csv": "what S3 has and GCS lacks or has otherwise. The first two columns are a "
    "manifest for S3 Batch Operations",
    "differences-gcs.csv": "what only GCS has",
    "summary.json": "the figures of this page",
}

SHOWN = 20
"""Samples that are open; the others are behind a click."""

BAR = 1000
"""Width of the longest bar, in units of the drawing."""

THINNEST = 6
"""Width of the shortest bar, so that one object among millions is visible."""

CENT = 0.01
KIB = 1024
UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def page(summary: Json) -> str:
    """Return the page of a summary (runs/…/summary.json). Unknown fields are ignored."""
    heading, tone = _heading(summary)
    sections = (
        _counts(summary["counts"], deletes=summary["replicates_all_deletes"]),
        _cost(summary),
        _chart(summary["by_prefix"]),
        _samples(summary),
        _files(),
    )
    frame = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return frame.substitute(
        title=f"Reconcile: {heading}",
        tone=tone,
        heading=heading,
        verdict=_verdict(summary),
        sections="\n".join(section for section in sections if section),
        footer=f"Run {_code(summary['run'])}, mode {_text(summary['mode'])}, "
        f"{_text(summary['started_at'])} to {_text(summary['ended_at'])}",
    )


def _heading(summary: Json) -> tuple[str, str]:
    """Return the heading and the class of its colour."""
    number = summary["differences"]
    match summary["ended"]:
        case "equal":
            return "Both sides are equal", "good"
        case "nominated":
            nominated = summary["counts"].get("nominated", 0)
            return f"{_number(nominated, 'key')} nominated for repair", "busy"
        case "too_many_differences":
            return "Repair stopped: too many differences", "bad"
        case _:
            return _number(number, "difference"), "bad"


def _verdict(summary: Json) -> str:
    counts = summary["counts"]
    prefix = f" below {_code(summary['prefix'])}" if summary["prefix"] else ""
    took = datetime.fromisoformat(summary["ended_at"]) - datetime.fromisoformat(
        summary["started_at"]
    )
    compared = _number(counts.get("compared", 0), "object")
    size = _size(counts.get("source_bytes", 0))
    lines = [
        f"{_code(summary['source'])} → {_code(summary['destination'])}{prefix}",
        f"{compared} compared, {size} in S3, in {_duration(took.total_seconds())}",
    ]
    if summary.get("valve"):
        lines.append(f"<strong>{_text(summary['valve'])}</strong>")
    if summary["ended"] == "nominated":
        lines.append("The function decides about each key. A second report shows what it did.")
    return "\n".join(f"<p>{line}</p>" for line in lines)


def _counts(counts: Json, *, deletes: bool) -> str:
    """Show what was compared, and what was counted apart if there is any."""
    fate = "A repair deletes them" if deletes else "They stay: not all deletes are replicated"
    compared = {**COMPARED, "extra": f"{COMPARED['extra']}. {fate}"}
    apart = {name: why for name, why in APART.items() if counts.get(name)}
    parts = ["<h2>Compared</h2>", _tiles(counts, compared)]
    if apart:
        parts += ["<h2>Counted apart: no differences</h2>", _tiles(counts, apart)]
    return "\n".join(parts)


def _tiles(counts: Json, explained: Mapping[str, str]) -> str:
    tiles = (
        f'<li><span class="{"kind " + name if name in KINDS else ""}">{name}</span>'
        f"<b>{counts.get(name, 0):,}</b><small>{why}</small></li>"
        for name, why in explained.items()
    )
    return _list("counts", tiles)


def _cost(summary: Json) -> str:
    """Show what a repair copies and costs; nothing where there is nothing to repair."""
    counts, cost = summary["counts"], summary["cost"]
    copies = counts.get("missing", 0) + counts.get("different", 0)
    if not summary["differences"]:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{title}</th><td>{_dollars(cost.get(name, 0))}</td></tr>'
        for name, title in COSTS.items()
    )
    done = summary["ended"] == "nominated"
    asks = ". It asks you first" if summary["ended"] == "too_many_differences" else ""
    start = (
        "" if done else f"<p>To start it: <code>make reconcile STACK=… REPAIR=1</code>{asks}</p>"
    )
    return f"""\
<h2>What {"this" if done else "a"} repair costs</h2>
<p>{_number(copies, "object")} to copy, {_size(counts.get("difference_bytes", 0))}. \
At list prices of us-east-1 (November 2026), without the storage in GCS:</p>
<table>
<tbody>
{rows}
</tbody>
<tfoot><tr><th scope="row">Sum</th><td>{_dollars(cost["total_usd"])}</td></tr></tfoot>
</table>
{start}"""


def _chart(by_prefix: Sequence[Json]) -> str:
    """Draw a bar for each prefix with differences, in the given order. Its text has the numbers."""
    found = [each for each in by_prefix if _sum(each)]
    if not found:
        return ""
    longest = max(map(_sum, found))
    rest = len(by_prefix) - len(found)
    note = f'<p class="quiet">{_number(rest, "prefix", "prefixes")} without differences.</p>'
    bars = _list("chart", (_bar(each, longest) for each in found))
    return f"<h2>Differences by prefix</h2>\n{bars}\n{note if rest else ''}"


def _bar(row: Json, longest: int) -> str:
    start, rectangles, texts = 0, [], []
    for kind in KINDS:
        if number := row.get(kind, 0):
            width = max(THINNEST, round(BAR * number / longest))
            rectangles.append(
                f'<rect class="{kind}" x="{start}" y="0" width="{width}" height="10"/>'
            )
            texts.append(f'<span class="kind {kind}">{number:,} {kind}</span>')
            start += width
    scale = BAR + THINNEST * len(KINDS)
    return f"""\
<li>{_code(row["prefix"]) if row["prefix"] else "(top level)"}
<svg viewBox="0 0 {scale} 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">\
{"".join(rectangles)}</svg>
{" ".join(texts)} <span class="quiet">of {row.get("compared", 0):,}; \
{_size(row.get("bytes", 0))} to copy</span></li>"""


def _samples(summary: Json) -> str:
    samples = [_sample(each) for each in summary["samples"]]
    if not samples:
        return ""
    total = _sum(summary["counts"])
    parts = [
        "<h2>Samples</h2>",
        f'<p class="quiet">{len(samples):,} of {total:,}; the CSV files have all of them.</p>',
        _list("samples", samples[:SHOWN]),
    ]
    if more := samples[SHOWN:]:
        parts.append(
            f"<details><summary>{len(more)} more</summary>\n{_list('samples', more)}</details>"
        )
    return "\n".join(parts)


def _sample(sample: Json) -> str:
    kind = sample["kind"] if sample["kind"] in KINDS else "foreign"
    what = "".join(f"<li>{_text(each)}</li>" for each in sample["what"])
    sides = "".join(
        f"<dt>{side}</dt><dd>{_facts(sample[name]) if sample[name] else 'absent'}</dd>"
        for side, name in (("S3", "source"), ("GCS", "replica"))
    )
    return f"""\
<li class="sample"><span class="kind {kind}">{kind}</span> {_code(sample["key"])}
{f'<ul class="what">{what}</ul>' if what else ""}<dl>{sides}</dl></li>"""


def _facts(side: Json) -> str:
    """Return the known facts of one side of a sample, such as `size 3, etag 900150983c…`."""
    return ", ".join(
        f"{_text(name.replace('_', ' '))} {_text(value)}"
        for name, value in side.items()
        if value is not None
    )


def _files() -> str:
    files = (f'<li><a href="{name}">{name}</a>: {what}</li>' for name, what in FILES.items())
    return f"<h2>Files of this run</h2>\n{_list('files', files)}"


def _list(name: str, items: Iterable[str]) -> str:
    """Return a list. The role is kept by browsers that drop it from lists without bullets."""
    joined = "\n".join(items)
    return f'<ul class="{name}" role="list">\n{joined}\n</ul>'


def _text(value: object) -> str:
    """Escape a value, and show characters that cannot be seen, such as those that turn the text."""
    seen = "".join(c if c.isprintable() else f"\\u{{{ord(c):04x}}}" for c in str(value))
    return f"<bdi>{escape(seen)}</bdi>"


def _code(value: object) -> str:
    return f"<code>{_text(value)}</code>"


def _sum(counts: Json) -> int:
    return sum(counts.get(kind, 0) for kind in KINDS)


def _number(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _size(count: float) -> str:
    """Format bytes: 12 bytes, 1.5 MiB."""
    if count < KIB:
        return f"{count:,.0f} bytes"
    power = min(int(log2(count) // 10), len(UNITS))
    return f"{count / KIB**power:,.1f} {UNITS[power - 1]}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _dollars(amount: float) -> str:
    if 0 < amount < CENT:
        return "less than $0.01"
    return f"${amount:,.2f}"
