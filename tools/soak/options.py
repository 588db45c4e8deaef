"""The parameters of a soak run."""

import argparse
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tools.local.runtime import REPOSITORY

_TENTHS = {"PARALLEL_FROM": 3, "LARGE_FROM": 5, "PART_SIZE": 2, "SLICE_SIZE": 4}
"""The function's sizes, in tenths of the largest size of an object."""


def _option(default: Any, text: str) -> Any:  # noqa: ANN401 - as dataclasses.field
    return field(default=default, metadata={"help": f"{text} (default: %(default)s)"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Parameters with their defaults. The report states those that differ, to repeat the run."""

    objects: int = _option(1500, "objects to create")
    changes: int = _option(2500, "changes besides creating the objects")
    workers: int = _option(3, "Lambda runtimes that run at the same time")
    faults: float = _option(0.05, "share of the requests to GCS that fail; 0 for none")
    duplicates: float = _option(0.15, "share of the events that are delivered twice")
    delayed: float = _option(0.2, "share of the events that are delayed by up to ten seconds")
    batched: float = _option(0.1, "share of the deliveries that carry several records")
    kill_every_s: float = _option(4.0, "mean seconds between two kills; 0 for none")
    stop_every_s: float = _option(15.0, "mean seconds between two stopped executions; 0 for none")
    outage_s: float = _option(25.0, "seconds for which each service has an outage; 0 for none")
    large: float = _option(0.07, "share of the contents that an execution copies")
    gzip: float = _option(0.5, "share of the contents that are text, and of the runtimes with gzip")
    largest_mib: int = _option(6, "size of the largest objects in MiB")
    window: int = _option(24, "most events that wait for a runtime before the source pauses")
    seed: int = _option(1, "seed of the changes; without it, a random one")
    out: Path = _option(REPOSITORY / ".cache/soak", "folder of the report")  # noqa: RUF009 - a field

    @property
    def sizes(self) -> dict[str, str]:
        """The function's sizes: beside one stream also parts, and slices from 3 of 6 MiB on."""
        return {name: f"{self._kib(name)} KiB" for name in _TENTHS}

    @property
    def large_from(self) -> int:
        """Size in bytes from which on an execution copies an object."""
        return self._kib("LARGE_FROM") * 1024

    def _kib(self, name: str) -> int:
        return self.largest_mib * 1024 * _TENTHS[name] // 10

    @property
    def with_gzip(self) -> int:
        """Number of the runtimes that send compressed what gets smaller."""
        return round(self.workers * self.gzip)

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        changed = [
            f"{_flag(each.name)} {getattr(self, each.name)}"
            for each in fields(self)
            if each.name not in {"seed", "out"} and getattr(self, each.name) != each.default
        ]
        return " ".join(["python -m tools.soak", f"--seed {self.seed}", *changed])


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak")
    for each in fields(Options):
        parser.add_argument(
            _flag(each.name),
            type=type(each.default),
            default=each.default,
            help=each.metadata["help"],
        )
    parser.set_defaults(seed=int.from_bytes(os.urandom(3)))
    return Options(**vars(parser.parse_args(arguments)))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
