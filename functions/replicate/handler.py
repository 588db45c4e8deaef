"""The function: Lambda calls `lambda_handler` with every event."""

import gc

gc.disable()  # while modules are imported: a cold start takes 0.92 of the time (PERFORMANCE.md)

import functools
import os
from datetime import UTC, datetime
from typing import Any

from replicate import entry, wiring
from replicate.entry.invocation import Context
from replicate.replicate_all import ReplicateAll
from replicate.settlement import Settlement
from replicate.settlement.failure import Failure, oldest_redelivered
from replicate.steps import Steps
from replicate.telemetry import Telemetry

gc.enable()

# google-cloud-storage reads this with each request, and then no bucket's metadata for its traces.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


def lambda_handler(event: object, context: Context) -> dict[str, Any]:
    """Handle a step for a large object, a step of a reconcile, the doctor, or else an event."""
    match event:
        case dict() if "large" in event:
            return _function().steps.copy_large(event, context)
        case dict() if "reconcile" in event:
            return _function().steps.reconcile(event, context)
        case dict() if event.get("doctor") is True:
            from replicate import doctor  # noqa: PLC0415 - other invocations do without it

            build = functools.partial(wiring.build, os.environ)
            return doctor.examine(build, context, compress=event.get("compress") is True)
    return _function().handle(event, context)


class Function:
    """Handles the events of one execution environment, one after the other."""

    def __init__(self, stores: wiring.Stores) -> None:
        settings = stores.settings
        self._start_invocation = stores.start_invocation
        self._telemetry = Telemetry(settings.service, settings.metrics_namespace)
        self._replicate_all = ReplicateAll(settings.scope, settings.sizes, stores.replicator)
        self._on_error = self._telemetry.failed_without_object
        self._settle = Settlement(stores.queues, settings.redelivery, self._on_error).settle
        self.steps = Steps(stores, self._telemetry)

    def handle(self, event: object, context: Context) -> dict[str, Any]:
        """Replicate each change that an event names, and respond. Raise ReplicationError."""
        self._start_invocation(context)
        with self._telemetry.invocation(context.aws_request_id):
            invocation = entry.parse(event, context, self._on_error)  # which invoker, which changes
            changes, results = invocation.changes, {}
            self._telemetry.received(invocation.first_hand)
            for change, result in self._replicate_all(changes):  # a Result or a ReplicationError
                self._telemetry.record(change, result, datetime.now(UTC))  # log line and metrics
                results[change.ref] = result
            if failed := [Failure(*each) for each in invocation.failed(results)]:
                self._telemetry.oldest_failure(oldest_redelivered(failed))
                invocation = self._settle(invocation, failed, context)  # dead letters, redeliveries
            return invocation.respond(results)  # what this invoker expects


@functools.cache
def _function() -> Function:
    return wiring.permanent(lambda: Function(wiring.build(os.environ)))
