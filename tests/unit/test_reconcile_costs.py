"""The cost of a repair agrees with the documents' arithmetic."""

import pytest

from replicate.reconcile.costs import GIB, MIB, repair_cost

MILLION = 1_000_000


def test_million_objects_of_a_mebibyte_cost_mostly_egress() -> None:
    cost = repair_cost(MILLION, MILLION * MIB)
    assert cost.egress_usd == pytest.approx(87.89, abs=0.01)  # 976.56 GiB x $0.09
    assert cost.requests_usd == pytest.approx(5.00 + 0.40 + 1.20 + 0.12)
    time_s = 30_000 + MILLION / 75
    assert cost.lambda_usd == pytest.approx(time_s * 0.0000166667 + 0.02 + 1.00)
    assert cost.total_usd == pytest.approx(96.35, abs=0.01)


def test_tebibyte_in_large_objects_costs_what_the_document_says() -> None:
    assert repair_cost(1024, 1024 * GIB).total_usd == pytest.approx(92.40, abs=0.01)


def test_delete_costs_a_look_and_no_egress() -> None:
    cost = repair_cost(0, 0, deletes=MILLION)
    assert cost.egress_usd == 0
    assert cost.requests_usd == pytest.approx(0.40 + 0.80 + 0.12)


def test_nothing_to_repair_costs_nothing() -> None:
    assert set(repair_cost(0, 0).as_json().values()) == {0}


def test_json_names_each_item_and_their_sum() -> None:
    described = repair_cost(10, GIB).as_json()
    assert list(described) == ["egress_usd", "requests_usd", "lambda_usd", "total_usd"]
    *items, total = described.values()
    assert total == pytest.approx(sum(items))
