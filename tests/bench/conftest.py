"""The servers of the benchmarks, once for each file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.benchmarks import site


@pytest.fixture(scope="module")
def running() -> Iterator[site.Site]:
    """Yield both servers."""
    with tempfile.TemporaryDirectory() as folder, site.running(Path(folder)) as made:
        yield made
