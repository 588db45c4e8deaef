"""What `make demo` prints, and its picture."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from tools.common.tables import duration, size
from tools.local.audit import Content, Pair

WIDTH = 110
TITLE_WIDTH = 38
DURATION_WIDTH = 7

GOOD = "[green]✓[/]"
BAD = "[red]✗[/]"


def console(*, record: bool = False) -> Console:
    """Return a console of at most `WIDTH` columns; exactly so many to record a picture."""
    found = Console(highlight=False)
    if found.is_terminal and found.width < WIDTH and not record:
        return found
    return Console(highlight=False, width=WIDTH, record=record)


def save_picture(recorded: Console, path: Path) -> None:
    """Write what was printed as an SVG, without fonts and a link to other sites."""
    svg = recorded.export_svg(title="make demo", unique_id="demo")
    path.write_text(re.sub(r"<!--.*?-->|@font-face {.*?}", "", svg, flags=re.DOTALL))


@contextmanager
def progress_bar(console: Console, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar of bytes within the block, on a terminal; yield what sets how many are done."""
    columns = (
        TextColumn("     {task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with shown:
        task = shown.add_task(title, total=total)
        yield lambda done: shown.update(task, completed=done)


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
