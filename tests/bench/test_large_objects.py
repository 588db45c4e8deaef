"""Large objects in `make bench`: the servers, parts, and the steps of the state machine."""

import base64
import io
import json
from collections.abc import Callable, Sequence

import pytest

from tools.benchmarks import site
from tools.benchmarks.clients.base import Phase
from tools.benchmarks.execution import Executions
from tools.benchmarks.machine import Json, Machine
from tools.benchmarks.measure import Sample
from tools.benchmarks.parallel import CLIENTS, PARTS, STREAM, Parallel
from tools.benchmarks.series import Series, content, range_crc32c
from tools.benchmarks.servers.changes import RefusedError, change
from tools.benchmarks.servers.pace import CATCH_UP_S, Pace
from tools.benchmarks.servers.web import Body, Request
from tools.common.sizes import GIB, MIB

FAST = 2_000_000_000
"""Bytes a second of each connection, in tests that do not measure time."""


def test_an_object_in_parts_takes_this_number_of_requests(running: site.Site) -> None:
    clients = [client for client in CLIENTS if client.name == PARTS]
    parallel = Parallel(256 * MIB, 1, FAST, clients)
    for _, step in parallel.steps(running):
        step()
    (ours,) = parallel.samples
    # S3: HEAD, 4 GET, HEAD. GCS: 1 look and 2 at the bucket; each part 5; 1 compose.
    assert (ours.s3_requests, ours.gcs_requests) == (6, 1 + 2 + 4 * 5 + 1)
    assert ours.rss_peak < 140 * MIB
    assert f"| {PARTS} " in parallel.section()


def test_bars_compare_parts_with_one_stream() -> None:
    sample = _sample(PARTS, wall=7.5, cpu=3.9)
    parallel = Parallel(samples=[sample, _sample(STREAM, wall=22.0, cpu=3.0)])
    assert [(bar.limit, round(bar.measured, 3), bar.met) for bar in parallel.bars()] == [
        (8, 7.5, True),
        (140, 100, True),
        (1.3, 1.3, True),
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_workers_copy_an_object_through_the_state_machine(running: site.Site, count: int) -> None:
    executions = Executions(8 * MIB, (count,), 4 * FAST)
    for _, step in executions.steps(running):
        step()
    (run,) = executions.runs
    # Plan, IsDone, StageSlices, 8 slices, Commit, IsEqual, Done.
    assert run.transitions == 3 + 8 + 3
    # Plan: HEAD. Each slice: HEAD, 4 GET. Commit: 2 HEAD.
    assert run.requests[0] == 1 + 8 * 5 + 2 + _secrets(count)


def _secrets(count: int) -> int:
    """Each worker reads the secret once, with its first request to GCS."""
    return count


class TestPace:
    def test_bytes_take_the_time_of_the_network(self) -> None:
        clock = Clock()
        pace = Pace(lambda: 1000, clock.read, clock.sleep)
        for _ in range(4):
            pace.wait(500)
        assert clock.now == pytest.approx(2.0)

    def test_lost_time_is_caught_up_to_a_limit(self) -> None:
        clock = Clock()
        pace = Pace(lambda: 1000, clock.read, clock.sleep)
        clock.now = 10
        pace.wait(1000)
        assert clock.now == pytest.approx(11 - CATCH_UP_S)

    def test_without_a_rate_nothing_waits(self) -> None:
        clock = Clock()
        Pace(lambda: 0, clock.read, clock.sleep).wait(10**9)
        assert clock.now == 0


def _sample(client: str, *, wall: float, cpu: float) -> Sample:
    return Sample(client, GIB, 1, Phase.NEW, 30, cpu, wall, 0, 100 * MIB, 0, 0, 0)


class Clock:
    """A clock that moves when somebody sleeps."""

    now = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class TestServer:
    """What the benchmark's GCS refuses."""

    KEY = Series(2 * MIB, 1, "compose").keys[0]

    def test_compose_joins_parts_and_deletes_them(self) -> None:
        objects = stored((0, MIB), (MIB, 2 * MIB))
        composed = self.compose(objects, "1", "2")
        assert composed["size"] == str(2 * MIB)
        assert list(objects) == [self.KEY]

    def test_parts_in_another_order_are_an_error(self) -> None:
        with pytest.raises(ValueError, match="would be"):
            self.compose(stored((0, MIB), (MIB, 2 * MIB)), "2", "1")

    @pytest.mark.parametrize("pinned", ["0", "7"])
    def test_compose_needs_the_generation_that_it_names(self, pinned: str) -> None:
        with pytest.raises(RefusedError) as refused:
            self.compose(stored((0, MIB), (MIB, 2 * MIB)), "1", "2", pinned=pinned)
        assert refused.value.status == 404

    def test_compose_needs_its_precondition(self) -> None:
        objects = stored((0, MIB), (MIB, 2 * MIB))
        with pytest.raises(RefusedError) as refused:
            self.compose(objects, "1", "2", generation="3")
        assert refused.value.status == 412
        assert len(objects) == 2

    def compose(
        self, objects: dict[str, Json], *names: str, pinned: str = "1", generation: str = "0"
    ) -> Json:
        sources = [
            {"name": name, "generation": 1, "objectPreconditions": {"ifGenerationMatch": pinned}}
            for name in names
        ]
        order = {"sourceObjects": sources, "destination": {}, "deleteSourceObjects": True}
        request = posted(f"{self.KEY}/compose", {"ifGenerationMatch": generation}, order)
        return change(objects, f"{self.KEY}/compose", request, lambda made: made)

    def test_two_parts_of_an_object_have_other_bytes(self) -> None:
        assert range_crc32c(0, MIB) != range_crc32c(256 * MIB, 257 * MIB)
        assert b"".join(content(5, 3 * MIB)) == b"".join(content(0, 3 * MIB))[5:]


def stored(*spans: tuple[int, int]) -> dict[str, Json]:
    return {
        str(number): {
            "generation": "1",
            "size": str(end - start),
            "crc32c": base64.b64encode(range_crc32c(start, end)).decode(),
        }
        for number, (start, end) in enumerate(spans, 1)
    }


def posted(path: str, query: dict[str, str], document: Json) -> Request:
    data = json.dumps(document).encode()
    body = Body(io.BytesIO(data), {"content-length": str(len(data))}, Pace(lambda: 0))
    return Request("POST", path, query, {}, body)


class TestMachine:
    """The states are those of statemachines/large-object.asl.json."""

    def run(self, commits: Sequence[bool]) -> tuple[Machine, list[Json]]:
        events: list[Json] = []
        outcomes = iter(commits)

        def function(event: Json) -> Json:
            events.append(event)
            if event["large"] == "slice":
                return {"staged": True}
            done = next(outcomes) if event["large"] == "commit" else False
            state = {"done": done, "bucket": "b", "key": "k", "version": "f", "round": 1}
            more = {"generation": "5", "metageneration": 1, "count": 2, "slices": [0, 1]}
            return state | more if event["large"] == "plan" else state

        machine = Machine(function, one_after_the_other)
        machine.execute({"bucket": "b", "key": "k", "version": None, "round": 0})
        return machine, events

    def test_a_slice_knows_its_number_and_the_plan(self) -> None:
        _, events = self.run([True])
        assert [event["large"] for event in events] == ["plan", "slice", "slice", "commit"]
        assert [event["number"] for event in events[1:3]] == [0, 1]
        assert events[3]["generation"] == "5"

    def test_a_lost_race_is_planned_again(self) -> None:
        machine, events = self.run([False, True])
        assert [event["large"] for event in events] == ["plan", "slice", "slice", "commit"] * 2
        assert machine.visited[-1] == "Done"
        assert machine.transitions == len(machine.visited) + 4


def one_after_the_other(tasks: Sequence[Callable[[], Json]], limit: int) -> list[Json]:
    assert limit == 40
    return [task() for task in tasks]
