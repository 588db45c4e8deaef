"""Measures one client with one workload at one round-trip time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tools.benchmarks.clients.base import PER_EVENT, Client, ClientError, Phase, Session
from tools.benchmarks.series import Series
from tools.benchmarks.servers.journal import round_trips
from tools.benchmarks.site import Site
from tools.common.sizes import KIB
from tools.common.tables import size

WARM_UP = Series(10 * KIB, 20, "warm-up")
_FIRST_BATCHES = 3
"""Batches that are not measured, because they open the connections."""

_WRITES = frozenset({Phase.NEW, Phase.BATCHES})


@dataclass(frozen=True, slots=True)
class Workload:
    """Objects of one size. There are fewer of them where each request waits."""

    size: int
    count: int
    count_with_delay: int
    phases: tuple[Phase, ...] = (Phase.NEW,)

    @property
    def title(self) -> str:
        return f"{self.count:,} x {size(self.size)}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One phase of one round. CPU, time, requests and round trips are those per object."""

    client: str
    size: int
    count: int
    phase: Phase
    delay_ms: int
    cpu_s: float
    wall_s: float
    rss_idle: float
    """Bytes."""
    rss_peak: float
    """Bytes."""
    s3_requests: float
    gcs_requests: float
    round_trips: float
    """Requests that had to wait for an earlier one."""
    sent: float = 0
    """Bytes that reached GCS, see `Record.received`."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From a new process to the end of its first event.

    Requests are those of the whole life of the process: with the secret, the token, and what a
    library sends in the background.
    """

    client: str
    objects: int
    delay_ms: int
    init_cpu_s: float
    init_wall_s: float
    event_cpu_s: float
    event_wall_s: float
    aws_requests: float
    google_requests: float

    @property
    def total_cpu_s(self) -> float:
        return self.init_cpu_s + self.event_cpu_s

    @property
    def total_wall_s(self) -> float:
        return self.init_wall_s + self.event_wall_s


def measure(
    site: Site, client: Client, workload: Workload, delay_ms: int, name: str
) -> Iterator[Sample]:
    """Run the phases of a workload that the client knows, in one process where it stays."""
    count = workload.count_with_delay if delay_ms else workload.count
    tag = f"{_slug(client)}-{workload.size}-{delay_ms}-{name}"
    with client.open(site) as session:
        site.take(delay_ms=0, size=workload.size)
        if Phase.WARM_UP in client.phases:
            session.run(replace(WARM_UP, tag=f"warm-{tag}"), Phase.WARM_UP)
        site.take(delay_ms=delay_ms)
        for phase in workload.phases:
            series = Series(workload.size, count, tag)
            if phase not in client.phases:
                continue
            if phase is Phase.BATCHES:
                first = PER_EVENT * _FIRST_BATCHES
                session.run(replace(series, count=first, tag=f"first-{tag}"), phase)
                series = replace(series, tag=f"batches-{tag}")
                site.take()
            yield _run(site, client.name, session, series, phase, delay_ms)


def _run(
    site: Site, client: str, session: Session, series: Series, phase: Phase, delay_ms: int
) -> Sample:
    used = session.run(series, phase)
    s3, gcs = site.take()
    if gcs.written != (series.count if phase in _WRITES else 0):
        raise ClientError(f"{client}, {phase}: {gcs.written} objects written of {series.count}")
    return Sample(
        client=client,
        size=series.size,
        count=series.count,
        phase=phase,
        delay_ms=delay_ms,
        cpu_s=used.cpu_s / series.count,
        wall_s=used.wall_s / series.count,
        rss_idle=session.start.rss,
        rss_peak=used.rss,
        s3_requests=len(s3.entries) / series.count,
        gcs_requests=len(gcs.entries) / series.count,
        round_trips=round_trips([*s3.entries, *gcs.entries]) / series.count,
        sent=gcs.received / series.count,
    )


def measure_start(
    site: Site, client: Client, delay_ms: int, name: str, objects: int = 1
) -> ColdStart:
    """Start a client and let it replicate new small objects: one, or an event of `PER_EVENT`."""
    site.take(delay_ms=delay_ms, size=WARM_UP.size)
    with client.open(site) as session:
        series = Series(WARM_UP.size, objects, f"cold-{_slug(client)}-{delay_ms}-{name}")
        first = session.run(series, Phase.NEW if objects == 1 else Phase.BATCHES)
    aws, google = site.take()  # the process has ended: no request can follow
    return ColdStart(
        client=client.name,
        objects=objects,
        delay_ms=delay_ms,
        init_cpu_s=session.start.cpu_s,
        init_wall_s=session.start.wall_s,
        event_cpu_s=first.cpu_s,
        event_wall_s=first.wall_s,
        aws_requests=len(aws.entries),
        google_requests=len(google.entries),
    )


def _slug(client: Client) -> str:
    """Return the client's name as a part of a key."""
    return re.sub("[^a-z0-9]+", "-", client.name.lower())
