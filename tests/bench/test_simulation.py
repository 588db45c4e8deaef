"""The simulation of a copy of 5 TiB, and the tables that it writes."""

from pathlib import Path

import pytest

from replicate.protocol.parts import Sizes
from tools.benchmarks.simulation import DOCUMENTS, SCENARIOS, Scenario, simulate, written

MIB = 1024**2


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_committed_table_is_what_the_simulation_gives(document: Path) -> None:
    text = document.read_text()
    assert text.count("<!-- make simulate -->") == 1
    assert written(text, DOCUMENTS[document]()) == text, "run make simulate"


def test_a_small_copy_takes_the_time_and_the_requests_that_one_can_count() -> None:
    sizes = Sizes(parallel_from=MIB, large_from=MIB, slice=MIB)
    outcome = simulate(Scenario(2, 1, 1024), 4 * MIB, sizes)
    plan_s = 2 * 0.03
    part_s = 6 * 0.03 + 1  # look, GET, session, bytes, end, record; four parts share 1 MiB/s
    slice_s = 3 * 0.03 + part_s + 0.03  # both sides, the slice, its parts, compose
    commit_s = 6 * 0.03  # both sides, the slices at a time, compose, source again, list
    assert outcome.longest_s == pytest.approx(slice_s)
    assert outcome.wall_s == pytest.approx(plan_s + 2 * slice_s + commit_s)
    assert outcome.amounts == {
        "Egress": 4 / 1024,
        "Lambda, x86_64": pytest.approx(plan_s + 4 * slice_s + commit_s),
        "GCS class A": 4 * (4 * 2 + 1) + 1 + 1,
        "Step Functions": 3 + 4 + 3,
        "GCS class B": 1 + 4 * 6 + 1 + 4,
        "S3 requests": 1 + 4 * 5 + 2,
        "Lambda requests": 1 + 4 + 1,
    }


def test_the_number_of_functions_changes_the_time_and_not_the_price() -> None:
    forty, ten = (simulate(scenario) for scenario in SCENARIOS[:2])
    assert forty.dollars == pytest.approx(ten.dollars, rel=1e-6)
    assert ten.wall_s / forty.wall_s == pytest.approx(4, rel=0.02)
