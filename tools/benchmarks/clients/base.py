"""What every client answers, however it is built."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tools.benchmarks.series import Series
from tools.benchmarks.site import Site


class Phase(StrEnum):
    """What a client is told about objects."""

    WARM_UP = "warm-up"
    NEW = "new"
    AGAIN = "again, unchanged"
    DUPLICATE = "again, within a minute"
    BATCHES = "new, 10 in an event"


PER_EVENT = 10
"""Objects of one event in `BATCHES`, as a queue or a job delivers them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the client itself spent; the servers' part does not count."""

    cpu_s: float
    wall_s: float
    rss_peak: int
    """Bytes, over the whole life of the process."""


@dataclass(frozen=True, slots=True)
class Start:
    """What it took before the first object."""

    cpu_s: float
    wall_s: float
    rss: int


class Session(Protocol):
    """A running client."""

    start: Start

    def run(self, series: Series, phase: Phase) -> Usage:
        """Replicate every object of a series, one event after the other where there are events."""


class Client(Protocol):
    """One of the things one could use."""

    @property
    def name(self) -> str: ...

    @property
    def phases(self) -> frozenset[Phase]:
        """What it can be told; a warm-up only when its process outlives a phase."""

    def open(self, site: Site) -> AbstractContextManager[Session]: ...


class ClientError(Exception):
    """A client did not do what it was told."""
