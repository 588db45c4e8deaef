"""Each test runs twice: over the fakes in memory, and over the real adapters and servers."""

from collections.abc import Iterator

import pytest
from ports.clouds import Adapters, Clouds, adapters
from ports.destination_world import DestinationWorld, MemoryDestination, RealDestination
from ports.source_world import MemorySource, RealSource, SourceWorld

VARIANTS = ("memory", "real")


@pytest.fixture(scope="session")
def clouds() -> Iterator[Clouds]:
    clouds = Clouds()
    yield clouds
    clouds.close()


@pytest.fixture(scope="module")
def real_adapters(clouds: Clouds) -> Iterator[Adapters]:
    with adapters(clouds) as made:
        yield made


@pytest.fixture(params=VARIANTS)
def s3(request: pytest.FixtureRequest) -> SourceWorld:
    """Return a bucket in S3 of the test's own."""
    if request.param == "memory":
        return MemorySource()
    return RealSource(request.getfixturevalue("clouds"), request.getfixturevalue("real_adapters"))


@pytest.fixture
def versioned(s3: SourceWorld) -> SourceWorld:
    """Return `s3` with versioning enabled."""
    s3.enable_versioning()
    return s3


@pytest.fixture(params=VARIANTS)
def gcs(request: pytest.FixtureRequest) -> Iterator[DestinationWorld]:
    """Return an empty bucket in GCS."""
    if request.param == "memory":
        yield MemoryDestination()
        return
    real = RealDestination(
        request.getfixturevalue("clouds"), request.getfixturevalue("real_adapters")
    )
    yield real
    real.clear()
