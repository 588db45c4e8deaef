"""What `make bench` counts: requests, round trips and memory, with small workloads."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.benchmarks import site
from tools.benchmarks.__main__ import CLIENTS, STARTED
from tools.benchmarks.clients.base import PER_EVENT, Client, ClientError, Phase, Usage
from tools.benchmarks.clients.lambdas import LambdaFunction
from tools.benchmarks.figures import EACH_OF_TEN, OURS, TUTORIAL, Results
from tools.benchmarks.measure import ColdStart, Sample, Workload, measure, measure_start
from tools.benchmarks.picture import compare, draw
from tools.benchmarks.report import page
from tools.benchmarks.series import Series
from tools.common.sizes import GIB, KIB, MIB

EVENTS = (Phase.NEW, Phase.AGAIN, Phase.DUPLICATE, Phase.BATCHES)
SMALL = Workload(10 * KIB, 20, 10, EVENTS)
TEN = Workload(EACH_OF_TEN, 10, 10, (Phase.BATCHES,))
LARGE = Workload(64 * MIB, 1, 1)
LARGER = Workload(GIB // 8, 1, 1)


@pytest.fixture(scope="module")
def ours() -> Client:
    return CLIENTS[0]


@pytest.fixture(scope="module")
def small(running: site.Site, ours: Client) -> dict[Phase, Sample]:
    return {s.phase: s for s in measure(running, ours, SMALL, 0, "test")}


@pytest.fixture(scope="module")
def large(running: site.Site, ours: Client) -> list[Sample]:
    return [*measure(running, ours, LARGE, 0, "test"), *measure(running, ours, LARGER, 0, "test")]


@pytest.fixture(scope="module")
def ten(running: site.Site, ours: Client) -> list[Sample]:
    return [*measure(running, ours, TEN, 0, "test")]


@pytest.fixture(scope="module")
def starts(running: site.Site) -> list[ColdStart]:
    return [
        measure_start(running, client, 0, f"test-{objects}", objects)
        for client in STARTED[:2]
        for objects in (1, PER_EVENT)
    ]


@pytest.mark.parametrize(
    ("phase", "s3", "gcs", "in_sequence"),
    [(Phase.NEW, 2, 1, 3), (Phase.AGAIN, 1, 1, 2), (Phase.DUPLICATE, 2, 2, 4)],
)
def test_a_small_object_takes_this_number_of_requests(
    small: dict[Phase, Sample], phase: Phase, s3: int, gcs: int, in_sequence: int
) -> None:
    sample = small[phase]
    assert (sample.s3_requests, sample.gcs_requests, sample.round_trips) == (s3, gcs, in_sequence)


def test_objects_of_one_event_do_not_wait_for_each_other(small: dict[Phase, Sample]) -> None:
    sample = small[Phase.BATCHES]
    assert (sample.s3_requests, sample.gcs_requests) == (2, 1)
    assert sample.round_trips < 3


def test_a_large_object_takes_six_requests_and_no_more_memory_when_it_is_larger(
    large: list[Sample],
) -> None:
    for sample in large:
        assert (sample.s3_requests, sample.gcs_requests, sample.round_trips) == (2, 4, 6)
        assert sample.rss_peak < 100 * MIB
    assert large[1].rss_peak - large[0].rss_peak < 8 * MIB


def test_ten_objects_of_8_mib_in_one_event_take_less_than_140_mib(ten: list[Sample]) -> None:
    assert [sample.rss_peak < 140 * MIB for sample in ten] == [True]


@pytest.mark.parametrize("objects", [1, PER_EVENT])
def test_a_new_process_reads_one_secret_and_one_token_and_sends_nothing_in_the_background(
    starts: list[ColdStart], objects: int
) -> None:
    (found,) = [s for s in starts if (s.client, s.objects) == (OURS, objects)]
    assert (found.aws_requests, found.google_requests) == (2 * objects + 1, objects + 1)


class Idle:
    """A client that records its orders and does nothing."""

    name = "idle"
    phases = frozenset(Phase)
    start = Usage(0.4, 0.5, 0)

    def __init__(self) -> None:
        self.orders: list[tuple[int, Phase]] = []

    @contextmanager
    def open(self, site: site.Site) -> Iterator["Idle"]:
        del site
        yield self

    def run(self, series: Series, phase: Phase) -> Usage:
        self.orders.append((series.count, phase))
        return Usage(0.2, 0.3, 0)


def test_the_first_event_of_a_new_process_holds_one_object_or_ten(running: site.Site) -> None:
    idle = Idle()
    one = measure_start(running, idle, 0, "test")
    ten = measure_start(running, idle, 0, "test", PER_EVENT)
    assert idle.orders == [(1, Phase.NEW), (PER_EVENT, Phase.BATCHES)]
    assert [one.objects, ten.objects] == [1, PER_EVENT]
    assert (ten.init_cpu_s, ten.event_cpu_s) == (0.4, 0.2)
    assert (ten.total_cpu_s, ten.total_wall_s) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize(("worker", "set_for_it"), [("replicator", False), ("tutorial", True)])
def test_the_function_uses_the_authorities_of_its_build_and_the_tutorial_the_whole_file(
    running: site.Site, worker: str, *, set_for_it: bool
) -> None:
    environment = LambdaFunction("any", worker).environment(running)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        assert (name in environment) is set_for_it


def test_requests_that_a_library_sends_in_the_background_are_counted(
    starts: list[ColdStart],
) -> None:
    """The tutorial's client reads the bucket's metadata, beside a token and three per object.

    Ten objects take long enough: the library's thread is a daemon, which ends with the process.
    """
    (found,) = [s for s in starts if (s.client, s.objects) == (TUTORIAL, PER_EVENT)]
    assert found.google_requests > 1 + 3 * PER_EVENT


def test_the_page_has_every_figure_and_every_bar(
    tmp_path: Path,
    small: dict[Phase, Sample],
    large: list[Sample],
    ten: list[Sample],
    starts: list[ColdStart],
) -> None:
    results = Results((*small.values(), *large, *ten), tuple(starts))
    text = re.sub(" +", " ", page(results, [SMALL, TEN, LARGE, LARGER], [0], {}))
    assert text.count("| 2 + 4 | 6 |") == 2
    assert "64 MiB to 128 MiB: growth of peak memory | ≤ 8 MiB |" in text
    assert "10 of 8 MiB in an event: peak memory | ≤ 140 MiB |" in text
    assert "first event of 10 after init: CPU, times that of init | ≤ 0.625" in text
    assert "| 21 + 11 |" in text
    draw(tmp_path / "benchmark.svg", compare(results, LARGE.size, LARGER.size))
    picture = (tmp_path / "benchmark.svg").read_text()
    assert "cold start to the first object: CPU" in picture
    assert "new 10 KiB" not in picture, "no peer was measured"


def test_a_client_that_does_not_replicate_what_it_should_ends_the_run(
    running: site.Site, ours: Client
) -> None:
    """Objects that exist already are skipped: they do not count as replicated."""
    workload = Workload(10 * KIB, 5, 5)
    assert [*measure(running, ours, workload, 0, "twice")]
    with pytest.raises(ClientError, match="skipped"):
        [*measure(running, ours, workload, 0, "twice")]
