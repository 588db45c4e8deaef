"""The benchmark of the reconcile, with few objects."""

import pytest

from tools.benchmarks import reconcile, site
from tools.benchmarks.clients.base import ClientError
from tools.benchmarks.reconcile import (
    DOCUMENT,
    MARK,
    Measured,
    bars,
    measure_ours,
    measure_rclone,
    page,
)
from tools.benchmarks.servers.listing import Listed
from tools.benchmarks.simulation import written
from tools.common.sizes import MIB

PAIRS = Listed.sized(900, per_folder=300)


def test_both_clients_find_the_damages(running: site.Site) -> None:
    ours, theirs = measure_ours(running, PAIRS), measure_rclone(running, PAIRS)
    assert ours.rss < 140 * MIB
    assert theirs.requests == (3 + 1, 3 + 1)  # each folder, and that with the folders
    assert ours.requests == (2, 2)  # a page each, after the plan has looked at both sides


def test_client_that_finds_something_else_ends_the_benchmark(
    running: site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "damages", lambda _: (1, 1))
    with pytest.raises(ClientError, match=r"found \(1, 0\) of \(1, 1\)"):
        measure_rclone(running, PAIRS)


def measured(client: str, millions: int, cpu_s: float, mib: int) -> Measured:
    return Measured(
        client=client,
        count=millions * 1_000_000,
        per_folder=1_000_000,
        cpu_s=cpu_s,
        wall_s=1,
        rss=mib * MIB,
        requests=(millions * 1000, millions * 1000),
    )


OURS = [measured("reconcile", 1, 10, 90), measured("reconcile", 10, 120, 95)]
THEIRS = [measured("rclone check", 1, 40, 1000)]


def test_bars_compare_the_largest_with_the_smallest_and_the_smallest_with_rclone() -> None:
    found = [(round(bar.measured, 3), bar.met) for bar in bars(OURS, THEIRS)]
    assert found == [
        (12, True),  # CPU of a million
        (95, True),  # MiB
        (5, True),  # of growth
        (1.2, False),  # growth of CPU
        (1, True),  # pages
        (0.25, True),  # CPU of rclone
        (0.09, True),  # memory of rclone
    ]


def test_billion_on_paper_is_limited_by_the_listing() -> None:
    text = page(OURS, THEIRS)
    assert "**52 minutes**" in text  # 1,000,000 pages x 0.125 s / 40
    assert "Listing $10.00" in text
    assert "Lambda 125,000 GB-s = $2.08: **$12.08**" in text


def test_document_has_one_place_for_the_tables() -> None:
    text = DOCUMENT.read_text()
    assert text.count(f"<!-- {MARK} -->") == 1
    assert "a table" in written(text, "a table", MARK)
