"""What breaks on the way heals; what is wrong is never visible."""

import pytest

from tools.local.stage import Stage, results

MIB = 1024 * 1024
SMALL, LARGE = 100_000, 12 * MIB


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_corrupted_transfer_is_refused_and_heals_when_delivered_again(
    stage: Stage, prefix: str, size: int
) -> None:
    name = f"{prefix}a"
    stage.cloud.google.add_fault(name=name, corrupt=True, times=1000)
    delivery = stage.upload(name, b"\x5a" * size)
    assert delivery.error
    assert "integrity" in delivery.error.message
    assert delivery.attempts == 3
    assert stage.generation(name) is None
    stage.cloud.google.clear_faults()
    (again,) = stage.cloud.invoker.redrive()
    results(again, "created")
    stage.expect_equal(prefix)


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
def test_one_broken_request_heals_within_the_invocation(
    stage: Stage, prefix: str, fault: dict[str, object], size: int
) -> None:
    name = f"{prefix}a"
    stage.cloud.google.add_fault(name=name, method="POST" if size == SMALL else "PUT", **fault)
    delivery = stage.upload(name, b"\x5a" * size)
    results(delivery, "created")
    assert delivery.attempts == 1
    stage.expect_equal(prefix)


def test_an_overwrite_that_fails_leaves_the_old_replica(stage: Stage, prefix: str) -> None:
    name = f"{prefix}a"
    stage.upload(name, b"first")
    generation = stage.generation(name)
    stage.cloud.google.add_fault(name=name, corrupt=True, times=1000)
    assert stage.upload(name, b"second" * 1000).error
    assert stage.generation(name) == generation
    (pair,) = stage.pairs(prefix)
    assert pair.replica
    assert pair.replica.size == len(b"first")
