"""One local cloud for all end-to-end tests; each test has a prefix of its own for its objects."""

import uuid
from collections.abc import Iterator

import pytest

from tools.local.cloud import LocalCloud, local_cloud
from tools.local.command import forget_other_clouds
from tools.local.stage import Stage


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    forget_other_clouds()
    with local_cloud() as running:
        yield running


@pytest.fixture
def stage(cloud: LocalCloud) -> Iterator[Stage]:
    """The cloud with what the demo does on it; leaves neither faults nor events behind."""
    yield Stage(cloud)
    cloud.google.clear_faults()
    cloud.settle()
    cloud.invoker.failed.clear()


@pytest.fixture
def prefix() -> str:
    """Start of the keys of this test."""
    return f"{uuid.uuid4().hex}/"
