"""Broken requests are retried; a corrupted object is never visible."""

import pytest

from tools.local.demo_context import DemoContext, expect_results

MIB = 1024 * 1024
SMALL, LARGE = 100_000, 12 * MIB


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_corrupted_transfer_fails_and_its_redriven_event_succeeds(
    demo: DemoContext, prefix: str, size: int
) -> None:
    name = f"{prefix}a"
    demo.cloud.google.add_fault(name=name, corrupt=True, times=1000)
    delivery = demo.upload(name, b"\x5a" * size)
    assert delivery.error
    assert "integrity" in delivery.error.message
    assert delivery.attempts == 3
    assert demo.generation(name) is None
    demo.cloud.google.clear_faults()
    (again,) = demo.redrive()
    expect_results(again, "created")
    demo.expect_equal(prefix)


@pytest.mark.parametrize(
    "fault",
    [
        {"cut_after": 50_000},
        {"cut_after": 50_000, "reset": True},
        {"lose_response": True},
        {"status": 503},
        {"status": 429},
        {"status": 401},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_broken_request_is_retried_within_the_invocation(
    demo: DemoContext, prefix: str, fault: dict[str, object], size: int
) -> None:
    name = f"{prefix}a"
    demo.cloud.google.add_fault(name=name, method="POST" if size == SMALL else "PUT", **fault)
    delivery = demo.upload(name, b"\x5a" * size)
    expect_results(delivery, "created")
    assert delivery.attempts == 1
    demo.expect_equal(prefix)


def test_a_failed_overwrite_leaves_the_old_replica(demo: DemoContext, prefix: str) -> None:
    name = f"{prefix}a"
    demo.upload(name, b"first")
    generation = demo.generation(name)
    demo.cloud.google.add_fault(name=name, corrupt=True, times=1000)
    assert demo.upload(name, b"second" * 1000).error
    assert demo.generation(name) == generation
    (pair,) = demo.pairs(prefix)
    assert pair.replica
    assert pair.replica.size == len(b"first")
