"""The interface of all clients."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tools.benchmarks.series import Series
from tools.benchmarks.site import Site


class Phase(StrEnum):
    """What a client is asked to do with the objects of a series."""

    WARM_UP = "warm-up"
    NEW = "new"
    AGAIN = "again, unchanged"
    DUPLICATE = "again, within a minute"
    BATCHES = "new, 10 in an event"


PER_EVENT = 10
"""Objects of one event in `BATCHES`, as a queue or a job delivers them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a client's process has used. The servers do not count."""

    cpu_s: float
    wall_s: float
    rss: int
    """Bytes: at the start those held now, after a run the peak of the process."""


class Session(Protocol):
    """A running client."""

    start: Usage
    """What it used before its first object."""

    def run(self, series: Series, phase: Phase) -> Usage:
        """Replicate a series: events one after the other, where the client gets events."""


class Client(Protocol):
    """A client that can be started."""

    @property
    def name(self) -> str: ...

    @property
    def phases(self) -> frozenset[Phase]:
        """The phases that it can run; a warm-up only if its process outlives a phase."""

    def open(self, site: Site) -> AbstractContextManager[Session]: ...


class ClientError(Exception):
    """A client did something else than it was asked to do."""
