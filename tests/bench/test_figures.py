"""The bars of the benchmark and its picture: what is compared with what."""

from tools.benchmarks.clients.base import PER_EVENT, Phase
from tools.benchmarks.figures import (
    AS_SHIPPED,
    COPY,
    DAEMON,
    EACH_OF_TEN,
    FLAT_FROM,
    OURS,
    SMALL,
    TUTORIAL,
    Results,
    bars,
    medians,
)
from tools.benchmarks.measure import ColdStart, Sample
from tools.benchmarks.picture import compare
from tools.common.sizes import GIB, MIB


def sample(
    client: str,
    size: int,
    phase: Phase = Phase.NEW,
    *,
    cpu: float = 0.0,
    wall: float = 0.0,
    delay: int = 0,
    peak_mib: int = 0,
    requests: tuple[int, int] = (0, 0),
    trips: int = 0,
) -> Sample:
    peak = peak_mib * MIB
    return Sample(client, size, 1, phase, delay, cpu, wall, 0, peak, *requests, trips)


def start(
    client: str, *, init: float, event: float, objects: int = 1, requests: tuple[int, int] = (0, 0)
) -> ColdStart:
    return ColdStart(client, objects, 0, init, 0.0, event, 0.0, *requests)


RESULTS = Results(
    (
        sample(OURS, SMALL, cpu=9, peak_mib=70, requests=(2, 1), trips=3),
        sample(TUTORIAL, SMALL, cpu=10),
        sample(OURS, SMALL, Phase.AGAIN, cpu=4, requests=(1, 1), trips=2),
        sample(TUTORIAL, SMALL, Phase.AGAIN, cpu=2),
        sample(OURS, SMALL, wall=70, delay=30),
        sample(TUTORIAL, SMALL, wall=100, delay=30),
        sample(DAEMON, SMALL, wall=140, delay=30),
        sample(OURS, SMALL, Phase.BATCHES, wall=9.1, delay=30, peak_mib=95),
        sample(OURS, EACH_OF_TEN, Phase.BATCHES, peak_mib=120),
        sample(OURS, FLAT_FROM, peak_mib=86),
        sample(OURS, GIB, cpu=12, peak_mib=87, requests=(2, 4), trips=6),
        sample(TUTORIAL, GIB, cpu=16),
        sample(COPY, GIB, cpu=10),
        sample(OURS, 4 * GIB, cpu=44, peak_mib=88, requests=(2, 5), trips=7),
        sample(TUTORIAL, 4 * GIB, cpu=55),
        sample(COPY, 4 * GIB, cpu=40),
    ),
    (
        start(OURS, init=30, event=10),
        start(TUTORIAL, init=40, event=10),
        start(AS_SHIPPED, init=90, event=10),
        start(OURS, init=40, event=20, objects=PER_EVENT, requests=(21, 12)),
    ),
)


def test_the_bars_are_these() -> None:
    """One line each: limit, measured."""
    found = {bar.what: (bar.limit, round(bar.measured, 6)) for bar in bars(RESULTS, GIB, 4 * GIB)}
    assert found == {
        "10 KiB, new: CPU, times that of `tutorial Lambda`": (1.0, 0.9),
        "10 KiB, again, unchanged: CPU, times that of `tutorial Lambda`": (3.0, 2.0),
        "10 KiB, new, at 30 ms: time, times that of `tutorial Lambda`": (0.8, 0.7),
        "10 KiB, new, at 30 ms: time, times that of `rclone rcd`": (0.8, 0.5),
        "10 in an event at 30 ms: time, times one": (1.4, 1.3),
        "first event of 10 after init: CPU, times that of init": (0.625, 0.5),
        "first event of 10 after init: requests to S3, and for the secret": (21, 21),
        "first event of 10 after init: requests to GCS, and for the token": (11, 12),
        "1 GiB, new: CPU, times that of `rclone copy`": (1.25, 1.2),
        "1 GiB, new: CPU, times that of `tutorial Lambda`": (0.8, 0.75),
        "4 GiB, new: CPU, times that of `rclone copy`": (1.25, 1.1),
        "4 GiB, new: CPU, times that of `tutorial Lambda`": (0.8, 0.8),
        "one object of any size: peak memory": (100, 88),
        "64 MiB to 4 GiB: growth of peak memory": (8, 2),
        "10 of 8 MiB in an event: peak memory": (140, 120),
        "10 KiB, new: requests to S3": (2, 2),
        "10 KiB, new: requests to GCS": (1, 1),
        "10 KiB, new: round trips in sequence": (3, 3),
        "10 KiB, again, unchanged: requests to S3": (1, 1),
        "10 KiB, again, unchanged: requests to GCS": (1, 1),
        "10 KiB, again, unchanged: round trips in sequence": (2, 2),
        "1 GiB, new: requests to S3": (3, 2),
        "1 GiB, new: requests to GCS": (4, 4),
        "1 GiB, new: round trips in sequence": (6, 6),
        "4 GiB, new: requests to S3": (3, 2),
        "4 GiB, new: requests to GCS": (4, 5),
        "4 GiB, new: round trips in sequence": (6, 7),
        "cold start to the first object: CPU, times that of `tutorial Lambda`": (0.85, 0.8),
        "cold start to the first object: CPU, times that of `tutorial Lambda, as sam builds it`": (
            0.4,
            0.4,
        ),
    }


def test_a_bar_is_missed_above_its_limit_only() -> None:
    missed = {bar.what for bar in bars(RESULTS, GIB, 4 * GIB) if not bar.met}
    assert missed == {
        "first event of 10 after init: requests to GCS, and for the token",
        "4 GiB, new: requests to GCS",
        "4 GiB, new: round trips in sequence",
    }


def test_memory_is_the_most_that_any_round_took() -> None:
    worse = sample(OURS, MIB, peak_mib=101)
    results = Results((*RESULTS.samples, worse), RESULTS.starts)
    missed = [bar.what for bar in bars(results, GIB, 4 * GIB) if bar.unit and not bar.met]
    assert missed == ["one object of any size: peak memory"]


def test_a_figure_is_the_median_of_the_rounds_and_requests_of_a_start_are_the_most() -> None:
    rounds = [sample(OURS, SMALL, cpu=cpu, trips=3) for cpu in (3, 1, 8)]
    assert medians(rounds) == sample(OURS, SMALL, cpu=3, trips=3)
    starts = [start(OURS, init=i, event=1, requests=(i + 1, i)) for i in (2, 5, 3)]
    assert Results((), tuple(starts)).start(OURS) == start(OURS, init=3, event=1, requests=(6, 5))


def test_the_picture_shows_each_peer_as_a_multiple_of_the_replicator() -> None:
    shown = compare(RESULTS, GIB, 4 * GIB)
    assert {what: {c: round(r, 3) for c, r in each.items()} for what, each in shown.items()} == {
        "new 10 KiB: CPU": {TUTORIAL: 1.111},
        "unchanged 10 KiB: CPU": {TUTORIAL: 0.5},
        "new 10 KiB at 30 ms: time": {TUTORIAL: 1.429, DAEMON: 2.0},
        "new 1 GiB: CPU": {TUTORIAL: 1.333, COPY: 0.833},
        "new 4 GiB: CPU": {TUTORIAL: 1.25, COPY: 0.909},
        "cold start to the first object: CPU": {TUTORIAL: 1.25, AS_SHIPPED: 2.5},
    }
