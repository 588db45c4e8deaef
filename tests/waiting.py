"""Wait for what another thread or process does."""

import time
from collections.abc import Callable

WITHIN_S = 120.0
"""Ends a test that would wait for ever. It is no limit for a slow machine."""

POLL_S = 0.02


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Return as soon as `holds` returns something true."""
    give_up = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < give_up, f"not in {WITHIN_S:.0f} s: {what}"
        time.sleep(POLL_S)
