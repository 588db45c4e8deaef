"""How the demo looks: lines, one table, and numbers a person reads at a glance."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.local.audit import Content, Pair

WIDTH = 110
KIB = 1024
MIB = 1024 * KIB
TITLE_WIDTH = 38
DURATION_WIDTH = 7

GOOD = "[green]✓[/]"
BAD = "[red]✗[/]"


def console() -> Console:
    """A console no wider than is read with ease, and wide enough where there is no terminal."""
    found = Console(highlight=False)
    narrow = found.is_terminal and found.width < WIDTH
    return found if narrow else Console(highlight=False, width=WIDTH)


def scene_row(number: int, title: str, line: str, *, good: bool, elapsed_s: float) -> Table:
    """One scene: its number, whether it went well, and what came of it."""
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=2, justify="right")
    row.add_column(width=1)
    row.add_column(width=TITLE_WIDTH)
    row.add_column(ratio=1)
    row.add_column(width=DURATION_WIDTH, justify="right", style="dim")
    mark = GOOD if good else BAD
    row.add_row(str(number), mark, title.rstrip("."), escape(line), duration(elapsed_s))
    return row


def audit_table(pairs: Sequence[Pair], elapsed_ms: Mapping[str, float]) -> Table:
    """Both sides, object by object."""
    table = Table(box=box.SIMPLE_HEAD, title="Both sides, downloaded and compared", pad_edge=False)
    table.add_column("")
    table.add_column("object", overflow="fold")
    for heading in ("size", "CRC32C in S3", "CRC32C in GCS", "function"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in pairs:
        elapsed = elapsed_ms.get(pair.name)
        held = pair.source or pair.replica
        table.add_row(
            GOOD if pair.equal else BAD,
            escape(pair.name),
            size(held.size) if held else "",
            _checksum(pair.source),
            _checksum(pair.replica),
            duration(elapsed / 1000) if elapsed is not None else "",
        )
    return table


def size(count: int) -> str:
    """Bytes, for people."""
    if count >= MIB:
        return f"{count / MIB:.1f} MiB".replace(".0 ", " ")
    return f"{count / KIB:.1f} KiB" if count >= KIB else f"{count} B"


def duration(seconds: float) -> str:
    """Seconds, for people."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _checksum(content: Content | None) -> str:
    return content.crc32c if content else "[red]absent[/]"
