"""Selects the tests that count for coverage."""

import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MEASURED = {"unit", "events", "ports", "integration", "production", "wire"}
"""They run the function in the test process. Measuring the others would only take time: the model
and fuzz tests call the same lines millions of times, and most other tests run the function in
another process, or not at all."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Trace the measured tests only. The marker `no_cover` has no effect in xdist's workers."""
    if item.path.relative_to(TESTS).parts[0] in MEASURED:
        return (yield)
    of_main, of_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(of_main)
        threading.settrace(of_threads)
