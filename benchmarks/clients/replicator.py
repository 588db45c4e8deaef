"""The function itself: imported as Lambda imports it, its clients built from the environment."""

import os
from typing import TYPE_CHECKING

from replicate.environment import Environment
from replicate.handler import Function

if TYPE_CHECKING:
    from benchmarks.worker import Handler


def build() -> "Handler":
    """All that a first invocation builds."""
    return Function(Environment.from_environ(os.environ)).handle  # type: ignore[return-value]
