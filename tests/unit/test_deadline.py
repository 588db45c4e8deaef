"""The invocation's time."""

import pytest

from replicate.errors import OutOfTimeError
from replicate.protocol.deadline import Deadline


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_passes_and_is_never_negative() -> None:
    clock = Clock()
    deadline = Deadline(3.0, clock=clock)
    assert deadline.remaining() == deadline.require() == 3.0
    clock.now += 2.5
    assert deadline.remaining() == deadline.require() == 0.5
    clock.now += 1
    assert deadline.remaining() == 0.0


@pytest.mark.parametrize(("seconds", "limited"), [(2.0, 2.0), (3.0, 3.0), (4.0, 3.0)])
def test_a_wait_is_no_longer_than_the_time_that_is_left(seconds: float, limited: float) -> None:
    assert Deadline(3.0, clock=Clock()).limit(seconds) == limited


@pytest.mark.parametrize("passed", [3.0, 4.0])
def test_after_the_deadline_nothing_is_begun(passed: float) -> None:
    clock = Clock()
    deadline = Deadline(3.0, clock=clock)
    clock.now += passed
    for begin in (deadline.require, lambda: deadline.limit(1)):
        with pytest.raises(OutOfTimeError) as caught:
            begin()
        assert caught.value.message == (
            "The invocation's time ran out. Try again. If it happens again, lower"
            " LargeObjectThreshold (LARGE_FROM) below the object's size, or raise MemorySize."
        )
