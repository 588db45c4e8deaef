"""Both clouds behind their proxies, built once, and a harness for each test."""

from collections.abc import Iterator

import pytest
from wire.harness import Clouds, Harness, harness_for_new_key


@pytest.fixture(scope="session")
def clouds() -> Iterator[Clouds]:
    """Return AWS and Google on this machine, behind a proxy each."""
    clouds = Clouds()
    yield clouds
    clouds.close()


@pytest.fixture
def harness(clouds: Clouds) -> Iterator[Harness]:
    """Return a harness with a key of its own and a function that is warm already."""
    with harness_for_new_key(clouds) as harness:
        yield harness
