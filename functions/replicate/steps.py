"""The steps of both state machines: each of their states invokes the function with one.

Lambda gives the state machine the name of an exception's class, which decides (step_errors.py).
"""

from collections.abc import Mapping
from typing import Any

from replicate.entry.invocation import Context
from replicate.telemetry import Telemetry
from replicate.wiring import Stores


class Steps:
    """Runs the steps. Their modules are imported when they are needed."""

    def __init__(self, stores: Stores, telemetry: Telemetry) -> None:
        self._stores = stores
        self._telemetry = telemetry

    def copy_large(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Run one step of the state machine that copies large objects."""
        from replicate import workflow  # noqa: PLC0415 - see above

        self._stores.start_invocation(context)
        with self._telemetry.invocation(context.aws_request_id):
            return workflow.step(self._stores.large_objects, self._telemetry, event)

    def reconcile(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Run one step of the state machine that reconciles both sides."""
        from replicate.reconcile.steps import step  # noqa: PLC0415 - see above

        self._stores.start_invocation(context)
        with self._telemetry.invocation(context.aws_request_id):
            return step(self._stores.reconcile, self._telemetry, event)
