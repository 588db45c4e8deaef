"""The function itself: imported as Lambda imports it, its clients built from the environment."""

from typing import TYPE_CHECKING

from replicate import handler

if TYPE_CHECKING:
    from tools.benchmarks.worker import Handler


def build() -> "Handler":
    """All that a first invocation builds."""
    return handler._function().handle  # type: ignore[return-value]  # noqa: SLF001 - to be measured
