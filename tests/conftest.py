"""How the tests run: what is traced for coverage, which start first, which share a process."""

import functools
import gc
import importlib
import pkgutil
import sys
import threading
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

import botocore.session
import pytest
from botocore.loaders import create_loader
from coverage import Coverage
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
"""An example may take any time: the machine may be busy."""

TESTS = Path(__file__).parent
MEASURED = {"unit", "events", "ports", "integration", "production", "wire"}
"""They run the function in the test process. Measuring the others would only take time: the model
and fuzz tests call the same lines millions of times, and most other tests run the function in
another process, or not at all."""

EACH = 4
"""Of the cases of a wire test, one of so many is traced: they call the same lines."""

FIRST = ("e2e", "model", "sam", "soak")
"""The folders that take longest. They start first, so that no process has one left at the end."""

LAST = ("wire/test_wire_parts.py", "wire/test_wire_slices.py", "wire/test_wire_cuts.py", "wire/")
"""The wire tests come last, in this order: their clock and their environment variables stay until
the process ends."""

UNITS = {
    "e2e/test_commands.py": "commands",
    "e2e/test_large_objects.py": "deployments",
    "e2e/test_template_delivery.py": "deployments",
}
"""What runs in one process, where it is not a file. All other end-to-end tests are another unit."""

botocore.session.create_loader = functools.cache(create_loader)
"""All boto3 sessions share what botocore reads about the services: 50 ms and 13 MiB for each."""

Trace = Callable[[FrameType, str, Any], Any]
Traces = tuple[Any, Any]
"""What traces this thread, and what new threads start with."""

OFF: Traces = (None, None)
TRACES = pytest.StashKey[Traces]()
"""Those of coverage, while they are off. A traced process takes twice the time."""


def _trace(traces: Traces) -> None:
    of_this, of_new = traces
    sys.settrace(of_this)
    threading.settrace(of_new)


def _without_servers(trace: Trace) -> Trace:
    """Leave the threads untraced in which a server handles a request: they run no code of ours."""

    def start(frame: FrameType, event: str, arg: object) -> object:
        if "process_request_thread" in threading.current_thread().name:
            sys.settrace(None)
            return None
        return trace(frame, event, arg)

    return start


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Trace nothing in the process that only distributes the tests."""
    if Coverage.current():
        _trace(OFF)


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
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Trace the import of the function, and nothing else until a measured test is called."""
    if Coverage.current() and sys.gettrace():
        package = importlib.import_module("replicate")
        for module in pkgutil.walk_packages(package.__path__, "replicate."):
            importlib.import_module(module.name)
        of_new: Any = threading.gettrace()
        session.stash[TRACES] = sys.gettrace(), _without_servers(of_new)
        _trace(OFF)
    result = yield
    gc.freeze()  # what was imported stays: looking through it took a tenth of the time
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, and the wire tests last."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(TESTS).as_posix()
        first = [len(FIRST) - n for n, name in enumerate(FIRST) if path.startswith(f"{name}/")]
        last = [n for n, name in enumerate(LAST, start=1) if path.startswith(name)]
        return min(last, default=0) - max(first, default=0)

    items.sort(key=rank)


def is_measured(item: pytest.Item) -> bool:
    """Return whether a test counts for coverage. It is the same in each run."""
    folder = item.path.relative_to(TESTS).parts[0]
    is_case = folder == "wire" and hasattr(item, "callspec")
    return folder in MEASURED and not (is_case and zlib.crc32(item.nodeid.encode()) % EACH)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Trace the measured tests only. The marker `no_cover` has no effect in xdist's workers."""
    traces = item.session.stash.get(TRACES, OFF)
    if traces == OFF or not is_measured(item):
        return (yield)
    _trace(traces)
    try:
        return (yield)
    finally:
        _trace(OFF)
