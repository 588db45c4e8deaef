"""What `make demo` prints, and its picture."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.common.tables import duration, size
from tools.local.audit import Content, Pair

WIDTH = 110
TITLE_WIDTH = 38
DURATION_WIDTH = 7

GOOD = "[green]✓[/]"
BAD = "[red]✗[/]"

SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's picture of a terminal; rich's own template loads fonts from another site."""


def console(*, record: bool = False) -> Console:
    """Return a console of at most `WIDTH` columns; exactly so many to record a picture."""
    found = Console(highlight=False)
    if found.is_terminal and found.width < WIDTH and not record:
        return found
    return Console(highlight=False, width=WIDTH, record=record)


def save_picture(recorded: Console, path: Path) -> None:
    """Write what was printed as an SVG."""
    recorded.save_svg(str(path), title="make demo", code_format=SVG, unique_id="demo")


def step_row(number: int, title: str, line: str, *, good: bool, elapsed_s: float) -> Table:
    """Return the row of one step."""
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=2, justify="right")
    row.add_column(width=1)
    row.add_column(width=TITLE_WIDTH)
    row.add_column(ratio=1)
    row.add_column(width=DURATION_WIDTH, justify="right", style="dim")
    mark = GOOD if good else BAD
    row.add_row(str(number), mark, title.rstrip("."), escape(line), duration(elapsed_s))
    return row


def comparison_table(pairs: Sequence[Pair]) -> Table:
    """Return both sides, object by object."""
    table = Table(box=box.SIMPLE_HEAD, title="Both sides, downloaded and compared", pad_edge=False)
    table.add_column("")
    table.add_column("object", overflow="fold")
    for heading in ("size", "CRC32C in S3", "CRC32C in GCS"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in pairs:
        content = pair.source or pair.replica
        table.add_row(
            GOOD if pair.equal else BAD,
            escape(pair.name),
            size(content.size) if content else "",
            _checksum(pair.source),
            _checksum(pair.replica),
        )
    return table


def _checksum(content: Content | None) -> str:
    return content.crc32c if content else "[red]absent[/]"
