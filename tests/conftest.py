"""How the tests run: which start first, which share a process, what they do not read twice."""

import functools
import gc
from collections.abc import Generator

import botocore.session
import pytest
from botocore.loaders import create_loader

FIRST = ("e2e", "model", "sam", "soak")
"""The folders that take longest. They start first, so that no process has one left at the end."""

LAST = (
    *("wire/test_wire_stalls.py", "wire/test_wire_parts.py", "wire/test_wire_slices.py"),
    *("wire/test_wire_cuts.py", "wire/test_wire_gzip.py", "wire/test_wire_races.py", "wire/"),
)
"""The wire tests come last, in this order: their clock and their environment variables stay until
the process ends. The stalls take a minute and little CPU; the others are sorted by their CPU."""

UNITS = {
    "e2e/test_commands.py": "commands",
    "e2e/test_large_objects.py": "deployments",
    "e2e/test_template_delivery.py": "deployments",
}
"""What runs in one process, where it is not a file. All other end-to-end tests are another unit."""

botocore.session.create_loader = functools.cache(create_loader)
"""All boto3 sessions share what botocore reads about the services: 50 ms and 13 MiB for each."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Let the tests of a file run in one process: they share servers, which take long to start.

    Tests of the model share nothing.
    """
    from xdist.scheduler import (  # type: ignore[import-untyped] # noqa: PLC0415 - may be missing
        LoadScopeScheduling,
    )

    class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0].removeprefix("tests/")
            units = {"model": nodeid, "e2e": UNITS.get(file, "e2e")}
            return units.get(file.partition("/")[0], file)

    config.option.loadscopereorder = False
    return Scheduler(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Freeze what was imported, and look for garbage ten times less often.

    Both took a tenth of the time. Memory does not grow by it: reference counts free most of it.
    """
    result = yield
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, and the wire tests last."""

    def rank(item: pytest.Item) -> int:
        path = item.nodeid.removeprefix("tests/")
        first = [len(FIRST) - n for n, name in enumerate(FIRST) if path.startswith(f"{name}/")]
        last = [n for n, name in enumerate(LAST, start=1) if path.startswith(name)]
        return min(last, default=0) - max(first, default=0)

    items.sort(key=rank)
