"""The function itself: imported as Lambda imports it, its clients built from the environment."""

from typing import TYPE_CHECKING

from replicate import handler

if TYPE_CHECKING:
    from tools.benchmarks.worker import Handler


def build() -> "Handler":
    """All that a first invocation builds."""
    handler._function()  # noqa: SLF001 - to be measured
    return handler.lambda_handler  # type: ignore[return-value]
