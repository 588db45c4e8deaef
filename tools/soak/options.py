"""What one run of the soak is like."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from tools.local.runtime import REPOSITORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The parameters of a run, printed with its report so that it can be repeated."""

    objects: int = 2000
    changes: int = 3000
    workers: int = 3
    faults: float = 0.05
    duplicates: float = 0.15
    delayed: float = 0.2
    batched: float = 0.1
    kill_every_s: float = 4.0
    storm_every_s: float = 100.0
    largest_mib: int = 20
    window: int = 24
    seed: int = 1
    out: Path = REPOSITORY / ".cache/soak"

    @property
    def command(self) -> str:
        """What repeats the run; what is at its default is left out."""
        usual = Options()
        said = [
            f"--{name.replace('_', '-')} {getattr(self, name)}"
            for name in _HELP
            if name != "out" and getattr(self, name) != getattr(usual, name)
        ]
        return " ".join(["python -m tools.soak", f"--seed {self.seed}", *said])


_HELP = {
    "objects": "objects that are created",
    "changes": "changes on top of that",
    "workers": "Lambda runtimes at once",
    "faults": "share of the requests to GCS that are spoiled; 0 for none",
    "duplicates": "share of events that are delivered twice",
    "delayed": "share of events that are held back for up to ten seconds",
    "batched": "share of deliveries that carry several records",
    "kill_every_s": "mean seconds between two kills; 0 for none",
    "storm_every_s": "seconds from one outage of GCS to the next; 0 for none",
    "largest_mib": "size of the largest objects",
    "window": "the source waits while so many events are due",
    "out": "folder of the report",
}


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line. Without a seed, one is drawn."""
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    for name, text in _HELP.items():
        value = getattr(usual, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(value) if not isinstance(value, Path) else Path,
            default=value,
            help=f"{text} (default: %(default)s)",
        )
    parser.add_argument(
        "--seed", type=int, default=int.from_bytes(os.urandom(3)), help="repeats a run"
    )
    return Options(**vars(parser.parse_args(arguments)))
