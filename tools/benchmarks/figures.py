"""Medians of all rounds, and what they are held to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from tools.benchmarks.clients.base import PER_EVENT, Phase
from tools.benchmarks.measure import GIB, KIB, MIB, ColdStart, Sample, size_text

OURS, TUTORIAL, DAEMON, COPY = "replicator", "tutorial Lambda", "rclone rcd", "rclone copy"
AS_SHIPPED = "tutorial Lambda, as sam builds it"

SMALL = 10 * KIB
FLAT_FROM = 64 * MIB
EACH_OF_TEN = 8 * MIB
"""Size of the objects of one event whose memory is measured."""

LATENCY_MS = 30
"""The round trip at which times are compared; without one, CPU is."""


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

    def peak_mib(self, client: str, phase: Phase, size: int | None = None) -> float | None:
        """Most memory that any process of a client ever held, up to the end of such a phase."""
        peaks = [
            s.rss_peak
            for s in self.samples
            if (s.client, s.phase) == (client, phase) and size in (None, s.size)
        ]
        return max(peaks) / MIB if peaks else None

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
    yield from _small(results)
    yield from _delayed(results)
    yield from _large(results, large, largest)
    yield from _memory(results, largest)
    yield from _requests(results, SMALL, Phase.NEW, (2, 1), 3)
    yield from _requests(results, SMALL, Phase.AGAIN, (1, 1), 2)
    for size in (large, largest):
        yield from _requests(results, size, Phase.NEW, (3, 4), 6)
    yield from _cold(results)


def _small(results: Results) -> Iterator[Bar]:
    for phase, limit in ((Phase.NEW, 1.0), (Phase.AGAIN, 3.0)):
        yield from _cpu(results, limit, TUTORIAL, SMALL, phase)


def _delayed(results: Results) -> Iterator[Bar]:
    one = results.figure(OURS, SMALL, Phase.NEW, LATENCY_MS)
    if one is None:
        return
    for peer in (TUTORIAL, DAEMON):
        if theirs := results.figure(peer, SMALL, Phase.NEW, LATENCY_MS):
            what = f"10 KiB, new, at {LATENCY_MS} ms: time, times that of `{peer}`"
            yield Bar(what, 0.8, "", one.wall_s / theirs.wall_s)
    if ten := results.figure(OURS, SMALL, Phase.BATCHES, LATENCY_MS):
        times = PER_EVENT * ten.wall_s / one.wall_s
        yield Bar(f"{PER_EVENT} in an event at {LATENCY_MS} ms: time, times one", 1.4, "", times)


def _large(results: Results, large: int, largest: int) -> Iterator[Bar]:
    for size in (large, largest):
        yield from _cpu(results, 1.25, COPY, size)
        yield from _cpu(results, 0.8, TUTORIAL, size)


def _cpu(
    results: Results, limit: float, peer: str, size: int, phase: Phase = Phase.NEW
) -> Iterator[Bar]:
    ours, theirs = results.figure(OURS, size, phase), results.figure(peer, size, phase)
    if ours and theirs:
        what = f"{size_text(size)}, {phase}: CPU, times that of `{peer}`"
        yield Bar(what, limit, "", ours.cpu_s / theirs.cpu_s)


def _memory(results: Results, largest: int) -> Iterator[Bar]:
    one = results.peak_mib(OURS, Phase.NEW)
    if one is not None:
        yield Bar("one object of any size: peak memory", 100, "MiB", one)
    low = results.figure(OURS, FLAT_FROM, Phase.NEW)
    high = results.figure(OURS, largest, Phase.NEW)
    if low and high:
        what = f"{size_text(FLAT_FROM)} to {size_text(largest)}: growth of peak memory"
        yield Bar(what, 8, "MiB", (high.rss_peak - low.rss_peak) / MIB)
    ten = results.peak_mib(OURS, Phase.BATCHES, EACH_OF_TEN)
    if ten is not None:
        what = f"{PER_EVENT} of {size_text(EACH_OF_TEN)} in an event: peak memory"
        yield Bar(what, 140, "MiB", ten)


def _requests(
    results: Results, size: int, phase: Phase, limits: tuple[int, int], trips: int
) -> Iterator[Bar]:
    ours = results.figure(OURS, size, phase)
    if ours is None:
        return
    what = f"{size_text(size)}, {phase}"
    for store, limit, count in zip(("S3", "GCS"), limits, ours.requests, strict=True):
        yield Bar(f"{what}: requests to {store}", limit, "", count)
    yield Bar(f"{what}: round trips in sequence", trips, "", ours.trips)


def _cold(results: Results) -> Iterator[Bar]:
    if ten := results.start(OURS, objects=PER_EVENT):
        what = f"first event of {PER_EVENT} after init"
        times = ten.event_cpu_s / ten.init_cpu_s
        yield Bar(f"{what}: CPU, times that of init", 250 / 400, "", times)
        aws, google = ten.requests
        yield Bar(f"{what}: requests to S3, and for the secret", 2 * PER_EVENT + 1, "", aws)
        yield Bar(f"{what}: requests to GCS, and for the token", PER_EVENT + 1, "", google)
    ours = results.start(OURS)
    for peer, limit in ((TUTORIAL, 0.85), (AS_SHIPPED, 0.4)):
        theirs = results.start(peer)
        if ours and theirs:
            what = f"cold start to the first object: CPU, times that of `{peer}`"
            yield Bar(what, limit, "", ours.first_cpu_s / theirs.first_cpu_s)
