"""Medians of all rounds, and the limits that they must keep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import TypeVar

from tools.benchmarks.clients.base import PER_EVENT, Phase
from tools.benchmarks.measure import ColdStart, Sample
from tools.common.sizes import KIB, MIB
from tools.common.tables import size as size_text

OURS, TUTORIAL, DAEMON, COPY = "replicator", "tutorial Lambda", "rclone rcd", "rclone copy"
AS_SHIPPED = "tutorial Lambda, as sam builds it"

SMALL = 10 * KIB
FLAT_FROM = 64 * MIB
"""The smallest object of those whose peak memory must be the same."""

EACH_OF_TEN = 8 * MIB
"""Size of the objects of one event whose memory is measured."""

LATENCY_MS = 30
"""The round trip at which times are compared. CPU is compared without one."""

T = TypeVar("T", Sample, ColdStart)


def medians(samples: Sequence[T]) -> T:
    """Return the first sample with the median of every measured field."""
    measured = [field.name for field in fields(samples[0]) if field.type is float]
    values = {name: median(getattr(each, name) for each in samples) for name in measured}
    return replace(samples[0], **values)


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured."""

    samples: tuple[Sample, ...]
    starts: tuple[ColdStart, ...]

    def figure(self, client: str, size: int, phase: Phase, delay_ms: int = 0) -> Sample | None:
        """Return the medians of all rounds; None where nothing was measured."""
        wanted = (client, size, phase, delay_ms)
        found = [s for s in self.samples if (s.client, s.size, s.phase, s.delay_ms) == wanted]
        return medians(found) if found else None

    def peak_mib(self, client: str, phase: Phase, size: int | None = None) -> float | None:
        """Return the most memory that any process of a client held by the end of a phase."""
        peaks = [
            s.rss_peak
            for s in self.samples
            if (s.client, s.phase) == (client, phase) and size in (None, s.size)
        ]
        return max(peaks) / MIB if peaks else None

    def start(self, client: str, delay_ms: int | None = None, objects: int = 1) -> ColdStart | None:
        """Return the medians of all starts, or of those at one round-trip time.

        Of the requests it returns the most: no start may send more than it needs.
        """
        found = [
            s
            for s in self.starts
            if (s.client, s.objects) == (client, objects) and delay_ms in (None, s.delay_ms)
        ]
        if not found:
            return None
        return replace(
            medians(found),
            aws_requests=max(start.aws_requests for start in found),
            google_requests=max(start.google_requests for start in found),
        )


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit and what was measured."""

    what: str
    limit: float
    measured: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.measured <= self.limit


def bars(results: Results, large: int, largest: int) -> Iterator[Bar]:
    """Yield every bar that was measured. `large` and `largest` are 1 and 4 GiB in a full run."""
    yield from _cpu(results, 1.0, TUTORIAL, SMALL)
    yield from _cpu(results, 3.0, TUTORIAL, SMALL, Phase.AGAIN)
    yield from _time(results)
    for size in (large, largest):
        yield from _cpu(results, 1.25, COPY, size)
        yield from _cpu(results, 0.8, TUTORIAL, size)
    yield from _memory(results, largest)
    yield from _requests(results, SMALL, Phase.NEW, (2, 1, 3))
    yield from _requests(results, SMALL, Phase.AGAIN, (1, 1, 2))
    for size in (large, largest):
        yield from _requests(results, size, Phase.NEW, (3, 4, 6))
    yield from _cold_start(results)


def _cpu(
    results: Results, limit: float, peer: str, size: int, phase: Phase = Phase.NEW
) -> Iterator[Bar]:
    ours, theirs = results.figure(OURS, size, phase), results.figure(peer, size, phase)
    if ours and theirs:
        what = f"{size_text(size)}, {phase}: CPU, times that of `{peer}`"
        yield Bar(what, limit, ours.cpu_s / theirs.cpu_s)


def _time(results: Results) -> Iterator[Bar]:
    one = results.figure(OURS, SMALL, Phase.NEW, LATENCY_MS)
    for peer in (TUTORIAL, DAEMON):
        theirs = results.figure(peer, SMALL, Phase.NEW, LATENCY_MS)
        if one and theirs:
            what = f"10 KiB, new, at {LATENCY_MS} ms: time, times that of `{peer}`"
            yield Bar(what, 0.8, one.wall_s / theirs.wall_s)
    ten = results.figure(OURS, SMALL, Phase.BATCHES, LATENCY_MS)
    if one and ten:
        what = f"{PER_EVENT} in an event at {LATENCY_MS} ms: time, times one"
        yield Bar(what, 1.4, PER_EVENT * ten.wall_s / one.wall_s)


def _memory(results: Results, largest: int) -> Iterator[Bar]:
    if one := results.peak_mib(OURS, Phase.NEW):
        yield Bar("one object of any size: peak memory", 100, one, "MiB")
    low = results.figure(OURS, FLAT_FROM, Phase.NEW)
    high = results.figure(OURS, largest, Phase.NEW)
    if low and high:
        what = f"{size_text(FLAT_FROM)} to {size_text(largest)}: growth of peak memory"
        yield Bar(what, 8, (high.rss_peak - low.rss_peak) / MIB, "MiB")
    if ten := results.peak_mib(OURS, Phase.BATCHES, EACH_OF_TEN):
        what = f"{PER_EVENT} of {size_text(EACH_OF_TEN)} in an event: peak memory"
        yield Bar(what, 140, ten, "MiB")


def _requests(
    results: Results, size: int, phase: Phase, limits: tuple[int, int, int]
) -> Iterator[Bar]:
    """Limit the requests to S3, the requests to GCS, and the round trips."""
    if ours := results.figure(OURS, size, phase):
        names = ("requests to S3", "requests to GCS", "round trips in sequence")
        counts = (ours.s3_requests, ours.gcs_requests, ours.round_trips)
        for name, limit, count in zip(names, limits, counts, strict=True):
            yield Bar(f"{size_text(size)}, {phase}: {name}", limit, count)


def _cold_start(results: Results) -> Iterator[Bar]:
    if ten := results.start(OURS, objects=PER_EVENT):
        what = f"first event of {PER_EVENT} after init"
        yield Bar(f"{what}: CPU, times that of init", 0.625, ten.event_cpu_s / ten.init_cpu_s)
        limits = (2 * PER_EVENT + 1, PER_EVENT + 1)
        yield Bar(f"{what}: requests to S3, and for the secret", limits[0], ten.aws_requests)
        yield Bar(f"{what}: requests to GCS, and for the token", limits[1], ten.google_requests)
    ours = results.start(OURS)
    for peer, limit in ((TUTORIAL, 0.85), (AS_SHIPPED, 0.4)):
        theirs = results.start(peer)
        if ours and theirs:
            what = f"cold start to the first object: CPU, times that of `{peer}`"
            yield Bar(what, limit, ours.total_cpu_s / theirs.total_cpu_s)
