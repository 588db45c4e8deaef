"""One client, one workload, one round-trip time: what it cost."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tools.benchmarks.clients.base import PER_EVENT, Client, ClientError, Phase, Session
from tools.benchmarks.series import Series
from tools.benchmarks.servers.journal import Taken, in_sequence
from tools.benchmarks.site import Site

KIB, MIB, GIB = 1024, 1024**2, 1024**3
WARM_UP = Series(10 * KIB, 20, "warm-up")
_FIRST_BATCHES = 3
_WRITES = frozenset({Phase.NEW, Phase.BATCHES})


@dataclass(frozen=True, slots=True)
class Workload:
    """Objects of one size; fewer of them where each request waits."""

    size: int
    count: int
    delayed: int
    phases: tuple[Phase, ...] = (Phase.NEW,)

    @property
    def title(self) -> str:
        return f"{self.count:,} x {size_text(self.size)}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One phase of one round. Sizes in bytes; `trips` are the requests that had to wait in turn."""

    client: str
    size: int
    count: int
    phase: Phase
    delay_ms: int
    cpu_s: float
    wall_s: float
    rss_idle: int
    rss_peak: int
    requests: tuple[int, int]
    trips: int


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From a new process to the end of its first event: the clients made, the objects replicated.

    `requests` are those to AWS and to Google: of the whole life of the process, so the secret, the
    token and whatever a library asks in the background are among them.
    """

    client: str
    objects: int
    delay_ms: int
    init_cpu_s: float
    init_wall_s: float
    event_cpu_s: float
    event_wall_s: float
    requests: tuple[int, int]

    @property
    def first_cpu_s(self) -> float:
        """CPU from the start of the process to the end of its first event."""
        return self.init_cpu_s + self.event_cpu_s

    @property
    def first_wall_s(self) -> float:
        """Time from the start of the process to the end of its first event."""
        return self.init_wall_s + self.event_wall_s


def slug(client: Client) -> str:
    """Its name, as part of a key."""
    return re.sub("[^a-z0-9]+", "-", client.name.lower())


def size_text(size: int) -> str:
    """Bytes, as people say it."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def measure(
    site: Site, client: Client, workload: Workload, delay_ms: int, name: str
) -> Iterator[Sample]:
    """Run the phases of a workload that the client knows, in one process where it stays."""
    count = workload.delayed if delay_ms else workload.count
    tag = f"{slug(client)}-{workload.size}-{delay_ms}-{name}"
    with client.open(site) as session:
        _take(site, delay_ms=0, prime=workload.size)
        if Phase.WARM_UP in client.phases:
            session.run(Series(WARM_UP.size, WARM_UP.count, f"warm-{tag}"), Phase.WARM_UP)
        _take(site, delay_ms=delay_ms)
        for phase in workload.phases:
            if phase in client.phases:
                series = Series(workload.size, count, tag)
                if phase is Phase.BATCHES:  # the first few of them make the connections
                    first = PER_EVENT * _FIRST_BATCHES
                    session.run(replace(series, count=first, tag=f"first-{tag}"), phase)
                    series = replace(series, tag=f"batches-{tag}")
                    _take(site)
                yield _run(site, client.name, session, series, phase, delay_ms)


def _run(
    site: Site, client: str, session: Session, series: Series, phase: Phase, delay_ms: int
) -> Sample:
    used = session.run(series, phase)
    s3, gcs = _take(site)
    if gcs.written != (series.count if phase in _WRITES else 0):
        raise ClientError(f"{client}, {phase}: {gcs.written} objects written of {series.count}")
    return Sample(
        client=client,
        size=series.size,
        count=series.count,
        phase=phase,
        delay_ms=delay_ms,
        cpu_s=used.cpu_s,
        wall_s=used.wall_s,
        rss_idle=session.start.rss,
        rss_peak=used.rss_peak,
        requests=(len(s3.entries), len(gcs.entries)),
        trips=in_sequence([*s3.entries, *gcs.entries]),
    )


def measure_start(
    site: Site, client: Client, delay_ms: int, name: str, objects: int = 1
) -> ColdStart:
    """Start a client, and let it replicate small objects: one, or an event of `PER_EVENT`."""
    _take(site, delay_ms=delay_ms, prime=WARM_UP.size)
    with client.open(site) as session:
        tag = f"cold-{slug(client)}-{delay_ms}-{name}"
        phase = Phase.NEW if objects == 1 else Phase.BATCHES
        first = session.run(Series(WARM_UP.size, objects, tag), phase)
        start = session.start
    aws, google = _take(site)  # the process has ended: nothing that it asks can come later
    return ColdStart(
        client=client.name,
        objects=objects,
        delay_ms=delay_ms,
        init_cpu_s=start.cpu_s,
        init_wall_s=start.wall_s,
        event_cpu_s=first.cpu_s,
        event_wall_s=first.wall_s,
        requests=(len(aws.entries), len(google.entries)),
    )


def _take(site: Site, **settings: int) -> tuple[Taken, Taken]:
    return site.aws.take(**settings), site.gcs.take(**settings)
