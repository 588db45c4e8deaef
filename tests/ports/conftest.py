"""Runs each test twice: with the fakes in memory, and with the real adapters and servers."""

from collections.abc import Iterator

import pytest
from ports.clouds import Adapters, Clouds, adapters
from ports.destination_harness import DestinationHarness, MemoryDestination, RealDestination
from ports.source_harness import MemorySource, RealSource, SourceHarness

VARIANTS = ("memory", "real")


@pytest.fixture(scope="session")
def clouds() -> Iterator[Clouds]:
    clouds = Clouds()
    yield clouds
    clouds.close()


@pytest.fixture(scope="module")
def real_adapters(clouds: Clouds) -> Iterator[Adapters]:
    with adapters(clouds) as built:
        yield built


@pytest.fixture(params=VARIANTS)
def s3(request: pytest.FixtureRequest) -> SourceHarness:
    """Return a new bucket in S3."""
    if request.param == "memory":
        return MemorySource()
    return RealSource(request.getfixturevalue("clouds"), request.getfixturevalue("real_adapters"))


@pytest.fixture
def versioned(s3: SourceHarness) -> SourceHarness:
    """Return `s3` with versioning enabled."""
    s3.enable_versioning()
    return s3


@pytest.fixture(params=VARIANTS)
def gcs(request: pytest.FixtureRequest) -> Iterator[DestinationHarness]:
    """Return an empty bucket in GCS."""
    if request.param == "memory":
        yield MemoryDestination()
        return
    real = RealDestination(
        request.getfixturevalue("clouds"), request.getfixturevalue("real_adapters")
    )
    yield real
    real.clear()
