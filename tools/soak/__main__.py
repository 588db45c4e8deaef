"""`make soak`: run it, print the report and keep it; exit code 1 where not all is well."""

import sys
from pathlib import Path

from rich.console import Console

from tools.common.command import end_on_signals, forget_other_clouds
from tools.soak import options, plot, report
from tools.soak.run import Result, soak

INTERRUPTED = 130


def main() -> int:
    """Run the soak; 0 when both sides are equal and nothing was left behind."""
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
    _keep(result, chosen.out)
    console.print(report.markdown(result), markup=False, soft_wrap=True)
    console.print(f"Kept: {chosen.out}/SOAK.md, soak-lag.svg")
    return 1 if result.verdict.problems else 0


def _keep(result: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SOAK.md").write_text(report.markdown(result))
    (folder / "soak-lag.svg").write_text(plot.svg(result))


if __name__ == "__main__":
    sys.exit(main())
