"""Medians of all rounds, and what they are held to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.clients.base import PER_EVENT, Phase
from benchmarks.measure import GIB, KIB, MIB, ColdStart, Sample, size_text

OURS, TUTORIAL, DAEMON, COPY = "replicator", "tutorial Lambda", "rclone rcd", "rclone copy"
AS_SHIPPED = "tutorial Lambda, as sam builds it"

SMALL = 10 * KIB
FLAT_FROM = 64 * MIB
LATENCY_MS = 30
"""The round trip at which a batch is compared with one object."""

_TUTORIAL_MS = {Phase.NEW: 4.75, Phase.AGAIN: 0.93}
"""The tutorial Lambda's CPU when the bars were set: their milliseconds are kept as ratios to it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of one client at one workload, phase and round-trip time."""

    client: str
    size: int
    count: int
    cpu_s: float
    wall_s: float
    rss_idle: float
    rss_peak: float
    requests: tuple[float, float]
    trips: float

    @classmethod
    def of(cls, samples: list[Sample]) -> "Figure":
        """Time and requests are per object."""
        one = samples[0]

        def middle(figure: Callable[[Sample], float]) -> float:
            return median(map(figure, samples))

        return cls(
            client=one.client,
            size=one.size,
            count=one.count,
            cpu_s=middle(lambda sample: sample.cpu_s / sample.count),
            wall_s=middle(lambda sample: sample.wall_s / sample.count),
            rss_idle=middle(lambda sample: sample.rss_idle),
            rss_peak=middle(lambda sample: sample.rss_peak),
            requests=(
                middle(lambda sample: sample.requests[0] / sample.count),
                middle(lambda sample: sample.requests[1] / sample.count),
            ),
            trips=middle(lambda sample: sample.trips / sample.count),
        )

    @property
    def cpu_s_per_gib(self) -> float:
        return self.cpu_s / self.size * GIB


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured."""

    samples: tuple[Sample, ...]
    starts: tuple[ColdStart, ...]

    def figure(self, client: str, size: int, phase: Phase, delay_ms: int = 0) -> Figure | None:
        """None where nothing was measured."""
        wanted = (client, size, phase, delay_ms)
        found = [s for s in self.samples if (s.client, s.size, s.phase, s.delay_ms) == wanted]
        return Figure.of(found) if found else None

    def start(self, client: str, delay_ms: int | None = None, objects: int = 1) -> ColdStart | None:
        """Medians of all starts, or of those at one round-trip time: CPU does not depend on it.

        Of the requests it is the maximum: one start that asked for more is one too many.
        """
        found = [
            s
            for s in self.starts
            if (s.client, s.objects) == (client, objects) and delay_ms in (None, s.delay_ms)
        ]
        if not found:
            return None
        return replace(
            found[0],
            init_cpu_s=median(start.init_cpu_s for start in found),
            init_wall_s=median(start.init_wall_s for start in found),
            event_cpu_s=median(start.event_cpu_s for start in found),
            event_wall_s=median(start.event_wall_s for start in found),
            requests=(
                max(start.requests[0] for start in found),
                max(start.requests[1] for start in found),
            ),
        )


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that was promised, and what came of it."""

    what: str
    limit: float
    unit: str
    measured: float

    @property
    def met(self) -> bool:
        return self.measured <= self.limit


def bars(results: Results, large: int, largest: int) -> Iterator[Bar]:
    """What is measured of the bars; `large` and `largest` are 1 and 4 GiB in a full run."""
    yield from _large(results, large, largest)
    yield from _small(results)
    yield from _cold(results)


def _large(results: Results, large: int, largest: int) -> Iterator[Bar]:
    ours = results.figure(OURS, large, Phase.NEW)
    if ours is None:
        return
    for size in (large, largest):
        yield from _against_rclone(results, size)
    peak = max(sample.rss_peak for sample in results.samples if sample.client == OURS)
    yield Bar("peak memory, all of these workloads", 90, "MiB", peak / MIB)
    low = results.figure(OURS, FLAT_FROM, Phase.NEW)
    high = results.figure(OURS, largest, Phase.NEW)
    if low and high:
        yield Bar("64 MiB to the largest: growth", 16, "MiB", (high.rss_peak - low.rss_peak) / MIB)
    yield Bar("large: requests to S3", 3, "", ours.requests[0])
    yield Bar("large: requests to GCS", 4, "", ours.requests[1])
    yield Bar("large: round trips in sequence", 6, "", ours.trips)


def _against_rclone(results: Results, size: int) -> Iterator[Bar]:
    ours = results.figure(OURS, size, Phase.NEW)
    for client in (COPY, DAEMON):
        theirs = results.figure(client, size, Phase.NEW)
        if ours and theirs:
            what = f"{size_text(size)}: CPU, times that of `{client}`"
            yield Bar(what, 1.15, "", ours.cpu_s / theirs.cpu_s)


def _small(results: Results) -> Iterator[Bar]:
    for phase, limit_ms, trips in ((Phase.NEW, 2.0, 3), (Phase.AGAIN, 1.2, 2)):
        ours = results.figure(OURS, SMALL, phase)
        theirs = results.figure(TUTORIAL, SMALL, phase)
        if ours is None:
            continue
        yield Bar(f"10 KiB, {phase}: CPU", limit_ms, "ms", ours.cpu_s * 1000)
        if theirs:
            limit = limit_ms / _TUTORIAL_MS[phase]
            ratio = ours.cpu_s / theirs.cpu_s
            yield Bar(f"10 KiB, {phase}: CPU, times the tutorial's", limit, "", ratio)
        yield Bar(f"10 KiB, {phase}: round trips in sequence", trips, "", ours.trips)
    if new := results.figure(OURS, SMALL, Phase.NEW):
        yield Bar("10 KiB, new: requests to S3", 2, "", new.requests[0])
        yield Bar("10 KiB, new: requests to GCS", 1, "", new.requests[1])
    ten = results.figure(OURS, SMALL, Phase.BATCHES, LATENCY_MS)
    one = results.figure(OURS, SMALL, Phase.NEW, LATENCY_MS)
    if ten and one:
        times = PER_EVENT * ten.wall_s / one.wall_s
        yield Bar(f"10 in an event at {LATENCY_MS} ms: time, times one", 1.5, "", times)


def _cold(results: Results) -> Iterator[Bar]:
    ours, theirs = results.start(OURS), results.start(AS_SHIPPED)
    if ours:
        yield Bar("cold start: CPU of imports and clients", 300, "ms", ours.init_cpu_s * 1000)
    if ours and theirs:
        init = ours.init_cpu_s / theirs.init_cpu_s
        yield Bar("cold start: CPU, times the tutorial's", 1 / 3, "", init)
        first = ours.first_cpu_s / theirs.first_cpu_s
        yield Bar("to the first object: CPU, times the tutorial's", 1 / 3, "", first)
