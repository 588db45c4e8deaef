"""Markdown tables, and sizes and durations for people."""

from collections.abc import Iterable, Sequence

import humanize
from tabulate import tabulate


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, text_columns: int = 1
) -> str:
    """Return a Markdown table, or "" without rows. Columns after `text_columns` hold numbers."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    alignment = ["left"] * text_columns + ["right"] * (len(headers) - text_columns)
    return tabulate(cells, headers, tablefmt="pipe", disable_numparse=True, colalign=alignment)


def size(count: float) -> str:
    """Format bytes: 10 KiB, 1.5 MiB."""
    return humanize.naturalsize(count, binary=True, format="%.4g")


def duration(seconds: float) -> str:
    """Format seconds: 250 ms, 1.50 s."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
