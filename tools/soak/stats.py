"""What happens in a run, recorded from many threads."""

import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import quantiles
from urllib.parse import unquote_plus

from tools.local.event_source_mapping import Batch
from tools.local.lambda_service import Delivery
from tools.local.notifications import Json
from tools.local.runtime import EXITED, FunctionError

_ERROR_CODE = re.compile(r": ([a-z0-9_]+): ")


@dataclass(frozen=True, slots=True)
class Arrival:
    """The first successful run for an event: its time and the lag behind the change in S3."""

    at: float
    """Seconds since the start."""
    lag_s: float
    held_back_s: float
    """The part of the lag that the soak itself added."""


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage of one service, in seconds since the start."""

    service: str
    start: float
    end: float
    refused: int
    """Requests of the function in this time."""


@dataclass(frozen=True, slots=True)
class Success:
    """One result of the function. A change can have several."""

    at: float
    """Seconds since the start."""
    reason: str
    bytes_copied: int
    bytes_sent: int


class RunStats:
    """Counts and times. Safe across threads: each method does one atomic update."""

    def __init__(self) -> None:
        self.started = time.time()
        self.changes: Counter[str] = Counter()
        self.contents: dict[str, set[str]] = defaultdict(set)
        """The CRC32C of every content of a key in S3."""
        self.counts: Counter[str] = Counter()
        self.successes: list[Success] = []
        self.failures: Counter[str] = Counter()
        self.interrupted_keys: Counter[str] = Counter()
        """The keys that a runtime worked on when it was killed."""
        self.kills: list[float] = []
        self.outages: list[Outage] = []
        self.marks: dict[str, float] = {}
        """When each phase ended."""
        self.peak_rss_bytes = 0
        self.bytes_written = 0
        self.never_in_source: list[str] = []
        """Objects seen in GCS with bytes that S3 never held."""
        self._arrivals: dict[str, Arrival] = {}
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.time() - self.started

    def mark(self, phase: str) -> None:
        """Record the end of a phase."""
        self.marks[phase] = self.now()

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self.counts[name] += by

    def expect_content(self, key: str, crc32c: str, size: int) -> None:
        """Record a content before it is written to S3."""
        with self._lock:
            self.contents[key].add(crc32c)
            self.bytes_written += size

    def record_change(self, kind: str) -> None:
        with self._lock:
            self.changes[kind] += 1

    def arrivals(self) -> list[Arrival]:
        """Return the arrivals in the order of their times."""
        with self._lock:
            return sorted(self._arrivals.values(), key=lambda each: each.at)

    def tails(self, outage: Outage) -> list[float]:
        """Return when each change of an outage arrived, in seconds after its end, ascending."""
        return [
            max(0.0, each.at - outage.end)
            for each in self.arrivals()
            if outage.start <= each.at - each.lag_s < outage.end
        ]

    def record_delivery(self, delivery: Delivery) -> None:
        """Record how an event ended."""
        records = delivery.event["Records"]
        with self._lock:
            self.counts["invocations"] += delivery.attempts
            self.counts["retries"] += delivery.attempts - 1
            self.counts["handed to the event queue"] += delivery.error is not None
            for error in delivery.errors:
                self.failures.update(_error_codes(error))
                if error.error_type == EXITED:
                    self.interrupted_keys.update(_key(each) for each in records)
            for result in delivery.results:
                self.successes.append(self._success(result))
            if delivery.response:
                for each in records:
                    self._record_arrival(each, delivery.delay_s)

    def record_step(self, response: Json) -> None:
        """Record the result of an execution, which its last step has."""
        if result := response.get("result"):
            with self._lock:
                self.successes.append(self._success(result))

    def record_batch(self, batch: Batch) -> None:
        """Record an invocation with failed events, and messages that wait for executions."""
        error = batch.response if isinstance(batch.response, FunctionError) else None
        failed = batch.failed()
        with self._lock:
            for message in batch.event["Records"]:
                body = json.loads(message["body"])
                body = body.get("retriedEvent", body)
                records = body.get("requestPayload", body).get("Records", [])
                self.counts["retries of the queue" if records else "looks after executions"] += 1
                if error and error.error_type == EXITED:
                    keys = [body["executionWatch"]["key"]] if not records else map(_key, records)
                    self.interrupted_keys.update(keys)
                if message["messageId"] not in failed:
                    for each in records:
                        self._record_arrival(each, 0.0)

    def _success(self, result: Json) -> Success:
        return Success(self.now(), result["reason"], result["bytes_copied"], result["bytes_sent"])

    def _record_arrival(self, record: Json, held_back_s: float) -> None:
        """Only the first success of a record counts; its sequencer identifies it."""
        happened = datetime.fromisoformat(record["eventTime"]).timestamp()
        lag_s = time.time() - happened
        self._arrivals.setdefault(
            record["s3"]["object"]["sequencer"], Arrival(self.now(), lag_s, held_back_s)
        )


def percentile(values: Sequence[float], percent: int) -> float:
    """Interpolate between values; 0 of none."""
    if len(values) < 2:  # noqa: PLR2004 - quantiles() needs two values before Python 3.13
        return sum(values)
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _error_codes(error: FunctionError) -> list[str]:
    """Return the codes in the lines after the first, or the error's type."""
    found = [_ERROR_CODE.search(line) for line in error.message.splitlines()[1:]]
    return [match[1] for match in found if match] or [error.error_type]


def _key(record: Json) -> str:
    return unquote_plus(record["s3"]["object"]["key"])
