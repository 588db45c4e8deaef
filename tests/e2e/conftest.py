"""One local cloud for all end-to-end tests; each test has a key prefix of its own."""

import uuid
from collections.abc import Iterator

import pytest

from tools.common.command import forget_other_clouds
from tools.local.cloud import LocalCloud, local_cloud
from tools.local.demo_context import DemoContext
from tools.local.deployment import Deployment, deployed


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    forget_other_clouds()
    with local_cloud() as running:
        yield running


@pytest.fixture(scope="session")
def queued(cloud: LocalCloud) -> Iterator[Deployment]:
    with deployed(cloud, "source-queued", Delivery="queue") as deployment:
        yield deployment


@pytest.fixture
def demo(cloud: LocalCloud, queued: Deployment) -> Iterator[DemoContext]:
    """Return what the demo's steps use; leave neither faults nor events behind."""
    yield DemoContext(cloud, queued)
    cloud.google.clear_faults()
    cloud.settle()
    cloud.service.failed.clear()


@pytest.fixture
def prefix() -> str:
    """Return the start of this test's keys."""
    return f"{uuid.uuid4().hex}/"
