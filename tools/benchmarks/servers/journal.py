"""The requests that a server got, and when: their number, and how many had to wait in turn."""

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. Times are seconds of the machine's monotonic clock."""

    name: str
    received: float
    responded: float


@dataclass(slots=True)
class Record:
    """The requests, the objects written, and the errors of clients since the last `take`."""

    entries: list[Entry] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    written: int = 0
    received: int = 0
    """Bytes of TCP, as the kernel counts them: with TLS, without headers and acknowledgements."""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        return cls(
            [Entry(**entry) for entry in document["entries"]],
            document["errors"],
            document["written"],
            document["received"],
        )


class Journal:
    """Collects a record. Safe across threads."""

    def __init__(self) -> None:
        self._record = Record()
        self._lock = threading.Lock()

    def add_request(self, name: str, received: float, responded: float) -> None:
        with self._lock:
            self._record.entries.append(Entry(name, received, responded))

    def add_error(self, message: str) -> None:
        """Record something that no client may do. It ends the benchmark."""
        with self._lock:
            self._record.errors.append(message)

    def add_write(self) -> None:
        with self._lock:
            self._record.written += 1

    def add_received(self, count: int) -> None:
        with self._lock:
            self._record.received += count

    def take(self) -> dict[str, Any]:
        """Return the record as JSON values, and start a new one."""
        with self._lock:
            taken, self._record = self._record, Record()
        return asdict(taken)


def round_trips(entries: Iterable[Entry]) -> int:
    """Count the longest chain of requests of which each began after the response to the last."""
    length, free_at = 0, float("-inf")
    for entry in sorted(entries, key=lambda each: each.responded):
        if entry.received >= free_at:
            length, free_at = length + 1, entry.responded
    return length
