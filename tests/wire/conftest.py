"""Both clouds behind their proxies, once; the stage for each test."""

from collections.abc import Iterator

import pytest
from wire.stage import Clouds, Stage, staged


@pytest.fixture(scope="session")
def clouds() -> Iterator[Clouds]:
    """Return AWS and Google on this machine, behind a proxy each."""
    clouds = Clouds()
    yield clouds
    clouds.close()


@pytest.fixture
def stage(clouds: Clouds) -> Iterator[Stage]:
    """Return a key of the test's own, and a function that is warm already."""
    with staged(clouds) as stage:
        yield stage
