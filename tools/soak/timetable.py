"""Deliveries and when they are due: where events wait, are overtaken, and come again."""

import heapq
import itertools
import threading
import time
from dataclasses import dataclass

from tools.local.notifications import Json


@dataclass(frozen=True, slots=True)
class Told:
    """A record of S3's: its number, its key, and when it happened (epoch)."""

    number: int
    key: str
    happened: float
    record: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One event on its way to the function."""

    records: tuple[Told, ...]
    held_back_s: float = 0.0
    attempt: int = 1


class Timetable:
    """Jobs by the time they are due. Safe across threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Job]] = []
        self._in_hand = 0
        self._order = itertools.count()
        self._closed = False

    def put(self, job: Job, delay_s: float) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + delay_s, next(self._order), job))
            self._changed.notify()

    def take(self) -> Job | None:
        """Wait for the next job that is due; None when the timetable is closed."""
        with self._changed:
            while not self._closed:
                wait_s = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if wait_s is not None and wait_s <= 0:
                    self._in_hand += 1
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(wait_s)
            return None

    def done(self) -> None:
        """A job that was taken is over; what follows from it was put before."""
        with self._changed:
            self._in_hand -= 1

    def due(self) -> int:
        """How many jobs could run now, if somebody took them."""
        now = time.monotonic()
        with self._changed:
            return sum(at <= now for at, _, _ in self._waiting)

    def idle(self) -> bool:
        """Whether nothing waits and nothing is in hand."""
        with self._changed:
            return not self._waiting and not self._in_hand

    def close(self) -> None:
        """Let everybody who waits go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
