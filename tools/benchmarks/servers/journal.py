"""What a server was asked, and when: the number of requests, and how many had to wait in turn."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Entry:
    """One request: from its head's arrival to its answer's departure, by the machine's clock."""

    what: str
    began: float
    answered: float


@dataclass(slots=True)
class Journal:
    """Collects entries and whatever was wrong. Safe across threads."""

    entries: list[Entry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    written: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, what: str, began: float, answered: float) -> None:
        with self._lock:
            self.entries.append(Entry(what, began, answered))

    def wrong(self, what: str) -> None:
        """Something no client may do: the run it happened in counts for nothing."""
        with self._lock:
            self.faults.append(what)

    def wrote(self) -> None:
        with self._lock:
            self.written += 1

    def take(self) -> dict[str, Any]:
        """Everything since the last time, as JSON."""
        with self._lock:
            taken = {
                "entries": [[entry.what, entry.began, entry.answered] for entry in self.entries],
                "faults": self.faults,
                "written": self.written,
            }
            self.entries, self.faults, self.written = [], [], 0
        return taken


@dataclass(frozen=True, slots=True)
class Taken:
    """What `Journal.take` gave, on the other side of the wire."""

    entries: tuple[Entry, ...]
    faults: tuple[str, ...]
    written: int

    @classmethod
    def from_json(cls, taken: dict[str, Any]) -> Self:
        return cls(
            tuple(Entry(*entry) for entry in taken["entries"]),
            tuple(taken["faults"]),
            taken["written"],
        )


def in_sequence(entries: Iterable[Entry]) -> int:
    """The longest chain of requests of which each began after the one before was answered."""
    length, free_at = 0, float("-inf")
    for entry in sorted(entries, key=lambda entry: entry.answered):
        if entry.began >= free_at:
            length, free_at = length + 1, entry.answered
    return length
