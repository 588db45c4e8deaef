"""What happened in a run, noted from many threads."""

import re
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

_CODE = re.compile(r": ([a-z0-9_]+): ")


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a change had arrived in GCS, as far as its own event tells."""

    at: float
    """Seconds since the start."""
    lag_s: float
    held_back_s: float
    """The part of the lag that was our own doing."""


@dataclass(frozen=True, slots=True)
class Success:
    """A change that was found done or carried out; of one change there may be several."""

    at: float
    """Seconds since the start."""
    reason: str
    bytes_copied: int


class Ledger:
    """Counts and times. Safe across threads."""

    def __init__(self) -> None:
        self.started = time.time()
        self.changes: Counter[str] = Counter()
        self.contents: dict[str, set[str]] = defaultdict(set)
        """The CRC32C of all that a key has held."""
        self.counts: Counter[str] = Counter()
        self.successes: list[Success] = []
        self.failures: Counter[str] = Counter()
        self.killed_with: Counter[str] = Counter()
        """The keys a runtime worked on when it was killed."""
        self.kills: list[float] = []
        self.marks: dict[str, float] = {}
        self.peak_rss_bytes = 0
        self.bytes_written = 0
        self.wrong: list[str] = []
        """What was visible in GCS and should never have been."""
        self._arrivals: dict[int, Arrival] = {}
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the start."""
        return time.time() - self.started

    def mark(self, name: str) -> None:
        """Remember when a phase ended."""
        self.marks[name] = self.now()

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self.counts[name] += by

    def about_to_hold(self, key: str, crc32c: str, size: int) -> None:
        """A key is about to get this content in S3."""
        with self._lock:
            self.contents[key].add(crc32c)
            self.bytes_written += size

    def changed(self, kind: str) -> None:
        with self._lock:
            self.changes[kind] += 1

    def arrived(self, number: int, happened: float, held_back_s: float) -> None:
        """The run for an event succeeded; only the first time counts."""
        with self._lock:
            if number not in self._arrivals:
                now = time.time()
                self._arrivals[number] = Arrival(now - self.started, now - happened, held_back_s)

    def arrivals(self) -> list[Arrival]:
        with self._lock:
            return sorted(self._arrivals.values(), key=lambda each: each.at)

    def succeeded(self, reason: str, bytes_copied: int) -> None:
        with self._lock:
            self.successes.append(Success(self.now(), reason, bytes_copied))

    def failed(self, error_type: str, message: str) -> None:
        """An invocation failed: by its codes where it names some."""
        codes = [m[1] for line in message.splitlines()[1:] if (m := _CODE.search(line))]
        with self._lock:
            self.failures.update(codes or [error_type])

    def killed(self) -> None:
        with self._lock:
            self.kills.append(self.now())

    def killed_while_at(self, key: str) -> None:
        with self._lock:
            self.killed_with[key] += 1

    def held(self, rss_bytes: int) -> None:
        """Note how much memory a function's process has held."""
        with self._lock:
            self.peak_rss_bytes = max(self.peak_rss_bytes, rss_bytes)
