"""The benchmark of compressed objects: its arithmetic, and what its servers count."""

import re
import zlib

import pytest

from tools.benchmarks import site
from tools.benchmarks.clients.base import Phase
from tools.benchmarks.egress import MARK, OURS, PEER, PLAIN, RUNS, Egress, money
from tools.benchmarks.measure import Sample
from tools.benchmarks.reconcile import DOCUMENT
from tools.benchmarks.simulation import written
from tools.common.kinds import JSON_LOG, KINDS, RANDOM, DataKind
from tools.common.sizes import GIB, MIB


def sample(size: int, *, sent: float, cpu_s: float, mib: int = 100) -> Sample:
    """Return a sample that has sent a share of its bytes."""
    return Sample("", size, 1, Phase.NEW, 30, cpu_s, 6, 0, mib * MIB, 0, 0, 0, sent * size)


def test_dollars_are_those_of_a_gib() -> None:
    plain = sample(GIB, sent=1, cpu_s=3)

    saved, spent = money(sample(2 * GIB, sent=0.25, cpu_s=10), plain)

    assert saved == pytest.approx(0.75 * 0.09)
    # 10 / 2 - 3 = 2 CPU-seconds, at 1024 / 1769 of a core for a GB
    assert spent == pytest.approx(2 / (1024 / 1769) * 0.0000166667)


def test_bars_compare_with_the_plain_copy_and_the_largest_with_the_smaller() -> None:
    egress = Egress()
    for kind, client in RUNS:
        is_ours = client is OURS
        one = sample(GIB, sent=1.01 if kind is RANDOM else 0.25, cpu_s=6 if is_ours else 3)
        egress.samples[kind, client.name, GIB] = [one]
    egress.samples[JSON_LOG, OURS.name, 4 * GIB] = [sample(4 * GIB, sent=1, cpu_s=24, mib=190)]

    found = [(round(bar.measured, 3), bar.met) for bar in egress.bars()]

    assert found == [
        (0.25, True),  # JSON log: bytes
        (2, True),  # and CPU
        (1, True),  # random: bytes
        (2, False),  # and CPU
        (190, False),  # peak MiB
        (90, False),  # growth
    ]
    row = next(line for line in egress.page().splitlines() if "JSON log" in line and "gzip" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")][3:] == [
        "256.0 MiB",
        "0.250",
        "6.00",
        "6.0",
        "100",
        "0.0000",
        "0.00009",
        "",
    ]


COSTS = DOCUMENT.with_name("COSTS.md")
COST = re.compile(
    r"\| (?P<kind>.+), ratio (?P<ratio>[\d.]+) \| \$0.0900 \| \$0.0900 ÷ (?P=ratio) ="
    r" \$(?P<egress>[\d.]+) \| (none.*|(?P<cpu_s>[\d.]+) s ÷ 0.58 . \$0.0000167 ="
    r" \$(?P<spent>[\d.]+)) \| \*\*\$(?P<saved>[\d.]+)\*\* \|"
)


def test_costs_are_computed_from_the_table_of_the_benchmark() -> None:
    made = DOCUMENT.read_text().partition(f"<!-- {MARK} -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in made.splitlines()]
    measured = {(row[0], row[2]): row for row in rows if row[1:2] == ["1 GiB"]}
    documented = [*COST.finditer(COSTS.read_text())]
    assert [each["kind"] for each in documented] == ["CSV of numbers", "JSON log", "repetitive log"]
    for each in documented:
        ours = measured[each["kind"], OURS.name]
        plain = measured.get((each["kind"], PLAIN.name)) or measured[RANDOM.name, PLAIN.name]
        more_s = float(ours[5]) - float(plain[5])
        spent = more_s / (1024 / 1769) * 0.0000166667
        assert each["ratio"] == f"{1 / float(ours[4]):.2g}"
        assert each["egress"] == f"{0.09 / float(each['ratio']):.4f}"
        assert each["cpu_s"] == (f"{more_s:.1f}" if more_s > 0 else None)
        assert each["spent"] == (f"{spent:.5f}" if more_s > 0 else None)
        saved = 0.09 - float(each["egress"]) - float(each["spent"] or 0)
        assert each["saved"] == f"{saved:.4f}"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_kind_is_as_compressible_as_it_says(kind: DataKind) -> None:
    ratio = {"CSV of numbers": 2.3, "JSON log": 4.2, "repetitive log": 12}.get(kind.name, 1)

    assert MIB / len(zlib.compress(kind.block(), 1)) == pytest.approx(ratio, rel=0.03)


def test_kernel_counts_what_reached_gcs(running: site.Site) -> None:
    sizes = Egress(size=4 * MIB)
    for client in (PLAIN, PEER):
        sizes._measure(running, JSON_LOG, client, sizes.size)  # noqa: SLF001
    plain, peer = (sizes.figure(JSON_LOG, client).sent / sizes.size for client in (PLAIN, PEER))
    assert 1 < plain < 1.02
    assert 0.2 < peer < 0.26


def test_document_has_one_place_for_the_tables() -> None:
    text = DOCUMENT.read_text()
    assert text.count(f"<!-- {MARK} -->") == 1
    assert "a table" in written(text, "a table", MARK)
