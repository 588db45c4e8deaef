"""What a GCS costs that accepts connections and never answers: the adapter, in modelled time.

The model has Lambda's execution environments, each with the adapter and its breaker. It does not
say which idle environment gets an invocation, as Lambda does not: it is drawn at random.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NoReturn

import pytest
import requests
from fakes import PLAIN
from google.auth.credentials import AnonymousCredentials

from replicate.breaker import BreakerPolicy, Circuit
from replicate.errors import DestinationUnavailableError
from replicate.gcs.client import GcsClient
from replicate.gcs.destination import GcsDestination
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import Precondition
from replicate.retry import DEFAULT_POLICY, Backoff

RATE = 100
"""Uploads per second."""
SECONDS = 90
OVERHEAD_S = 0.05
"""Of an invocation, beside its requests to GCS: it reads S3, logs and responds."""
LAMBDA_RETRIES_S = (60.0, 120.0)
TIMEOUT_S = 900.0
MEMORY_GB = 1.0
ACCOUNT_LIMIT = 1000


@dataclass
class Time:
    """The time of the invocation that runs now."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Let every request to GCS wait for its whole timeout, in modelled time."""
    time = Time()

    def hang(_: object, __: object, *, timeout: float, **___: Any) -> NoReturn:  # noqa: ANN401
        time.sleep(timeout)
        raise requests.ReadTimeout

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", hang)
    monkeypatch.setattr(Backoff.__init__, "__defaults__", (time.sleep,))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://gcs")
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")  # as the handler
    return time


class Token(AnonymousCredentials):
    """Credentials that need no request."""

    universe_domain = "googleapis.com"

    def close(self) -> None:
        """Close nothing: there is no connection."""


class NoBytes:
    """The body of an empty object."""

    size = crc32c = 0

    def readinto(self, buffer: memoryview) -> int:
        return len(buffer)

    def rewind(self, offset: int) -> None:
        """Nothing is read."""

    def verify(self) -> None:
        """Nothing can be wrong."""

    def is_stored_as(self, crc32c: str | None, size: int) -> bool:  # noqa: ARG002
        return True


FirstRequest = Callable[[GcsDestination], object]
"""With what a run begins."""


def look(destination: GcsDestination) -> object:
    """Do what a run does first for most events."""
    return destination.head("name")


def create(destination: GcsDestination) -> object:
    """Do what a run does first for a small object that is probably new."""
    return destination.write("name", PLAIN, NoBytes(), Precondition(0))


class ExecutionEnvironment:
    """An execution environment of Lambda."""

    def __init__(self, time: Time, breaker: BreakerPolicy, first: FirstRequest) -> None:
        self._time = time
        self._first = first
        self._deadline = Deadline(0, clock=time)
        self._circuit = Circuit(breaker, time)
        self._client = GcsClient(Token(), self._circuit)  # type: ignore[arg-type, no-untyped-call] # as it is used
        naming = Naming("replica", "")
        self._destination = GcsDestination(self._client, naming, self._deadline, DEFAULT_POLICY)

    def invoke(self, now: float) -> float:
        """Run an event that fails, beginning `now`. Return when it has ended."""
        self._time.now = now + OVERHEAD_S
        self._deadline.restart(TIMEOUT_S)
        self._client.start_invocation()
        with pytest.raises(DestinationUnavailableError):
            self._first(self._destination)
        return self._time.now


@dataclass
class Run:
    """What the uploads of some seconds cost."""

    concurrent: list[tuple[float, int]] = field(default_factory=list)
    """Invocations that run, at the beginning of each."""
    billed_s: float = 0.0

    def peak(self, after_s: float = 0) -> int:
        return max(count for at, count in self.concurrent if at >= after_s)

    @property
    def gb_seconds(self) -> float:
        """GB-seconds per upload, all attempts of the run together."""
        return self.billed_s * MEMORY_GB / (RATE * SECONDS)


def uploads(time: Time, breaker: BreakerPolicy, first: FirstRequest) -> Run:
    """Upload objects while GCS hangs, with Lambda's retries, until the account's limit."""
    random, run = Random(1), Run()  # noqa: S311 - repeatable
    due = [(number / RATE, 0) for number in range(RATE * SECONDS)]
    idle: list[ExecutionEnvironment] = []
    running: list[tuple[float, int, ExecutionEnvironment]] = []
    while len(running) < ACCOUNT_LIMIT and due[0][0] < SECONDS:
        now, attempt = heapq.heappop(due)
        while running and running[0][0] <= now:
            idle.append(heapq.heappop(running)[2])
        if idle:
            environment = idle.pop(random.randrange(len(idle)))
        else:
            environment = ExecutionEnvironment(time, breaker, first)
        ended = environment.invoke(now)
        run.billed_s += ended - now
        heapq.heappush(running, (ended, len(run.concurrent), environment))
        run.concurrent.append((now, len(running)))
        if attempt < len(LAMBDA_RETRIES_S):
            heapq.heappush(due, (ended + LAMBDA_RETRIES_S[attempt], attempt + 1))
    return run


def test_waits_of_20_seconds_without_a_breaker_take_all_executions_of_an_account(
    time: Time,
) -> None:
    old = BreakerPolicy(timeouts=1_000_000, shortest_wait_s=20, longest_wait_s=20)
    run = uploads(time, old, look)
    assert (run.peak(), len(run.concurrent)) == (ACCOUNT_LIMIT, ACCOUNT_LIMIT), "within 10 seconds"
    assert run.billed_s / len(run.concurrent) > 20, "seconds of each attempt"


@pytest.mark.parametrize("first", [look, create])
def test_100_uploads_per_second_need_fewer_than_100_executions_when_gcs_hangs(
    time: Time, first: FirstRequest
) -> None:
    """At first every environment finds out for itself; then most events fail at once."""
    run = uploads(time, BreakerPolicy(), first)
    assert run.peak() < 100
    assert run.peak(after_s=5) < 50
    assert run.gb_seconds < 0.25
