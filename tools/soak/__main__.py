"""`make soak`: run, print the report and write it; exit code 1 when a problem was found."""

import sys

from rich.console import Console

from tools.common.command import end_on_signals, forget_other_clouds
from tools.soak import options, report
from tools.soak.picture import draw
from tools.soak.run import soak

INTERRUPTED = 130


def main() -> int:
    """Run the soak; return its exit code."""
    chosen = options.parse()
    end_on_signals()
    forget_other_clouds()
    console = Console(highlight=False)
    console.print(f"[bold]{chosen.command}[/]")
    try:
        result = soak(chosen, console)
    except KeyboardInterrupt:
        console.print("\nInterrupted: everything is stopped again.")
        return INTERRUPTED
    text = report.markdown(result)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "SOAK.md").write_text(text)
    (chosen.out / "soak-reconcile.html").write_bytes(result.page)
    draw(chosen.out / "soak-lag.svg", result.stats)
    console.print(text, markup=False, soft_wrap=True)
    console.print(f"Written: {chosen.out}/SOAK.md, soak-lag.svg, soak-reconcile.html")
    return 1 if result.findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
