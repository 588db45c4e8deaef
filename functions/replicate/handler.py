"""The function: Lambda calls `lambda_handler` with every event."""

import gc

gc.disable()  # Collecting garbage while modules are imported is a tenth of a cold start.

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from typing import Any

from replicate import certificates, entry
from replicate.entry.failures import failures, oldest_retried
from replicate.entry.invocation import Change, Context, Invocation
from replicate.errors import InternalError, InvalidEventError, ReplicationError
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import Result, SourceRef
from replicate.settlement import settle
from replicate.telemetry import Telemetry
from replicate.wiring import Environment, Stores

gc.enable()

# Otherwise google-cloud-storage reads the bucket's metadata in the background, for tracing.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

CONCURRENCY = 10
"""Changes of one event that are replicated at the same time.

Each needs up to 11 MiB of memory, in four parts. Of compressed chunks the process holds a limited
number (gcs/compressed_upload.py).
"""

RESPONSE_S = 0.5
"""Seconds at the end of an invocation in which no failure is stored, so that it can respond."""


def lambda_handler(event: object, context: Context) -> dict[str, Any]:
    """Handle one invocation. The first one builds the clients."""
    if isinstance(event, dict) and event.get("doctor") is True:
        from replicate import doctor  # noqa: PLC0415 - other invocations do without it

        return doctor.examine(build_environment, context, compress=event.get("compress") is True)
    if isinstance(event, dict) and "large" in event:
        return _function().step(event, context)
    if isinstance(event, dict) and "reconcile" in event:
        return _function().reconcile(event, context)
    return _function().handle(event, context)


class Function:
    """Handles the invocations of one execution environment, one after the other."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._settings = stores.settings
        self._telemetry = Telemetry(self._settings.service, self._settings.metrics_namespace)

    def handle(self, event: object, context: Context) -> dict[str, Any]:
        """Replicate each change that an event names, and respond. Raise ReplicationError."""
        self._stores.start_invocation(context)
        with self._telemetry.invocation(context.aws_request_id):
            invocation = self._parse(event, context)
            results: dict[SourceRef, Result | ReplicationError] = {}
            for change, result in self._replicate_all(invocation.changes):
                self._telemetry.record(change, result, datetime.now(UTC))
                results[change.ref] = result
            return self._settle(invocation, results, context).respond(results)

    def _parse(self, event: object, context: Context) -> Invocation:
        """Read an event; record what cannot be read. Raise InvalidEventError."""
        try:
            invocation = entry.parse(event, datetime.now(UTC), context)
        except InvalidEventError as error:
            self._telemetry.reject(error)
            raise
        for malformed in invocation.errors:
            self._telemetry.reject(malformed)
        self._telemetry.received(sum(message.is_first_hand for message in invocation.messages))
        return invocation

    def _replicate_all(
        self, changes: Sequence[Change]
    ) -> Iterator[tuple[Change, Result | ReplicationError]]:
        """Replicate several changes at the same time. Yield each one when it has ended."""
        if len(changes) == 1:
            yield changes[0], self._replicate_or_error(changes[0])
        elif changes:
            with ThreadPoolExecutor(min(CONCURRENCY, len(changes))) as pool:
                running = {
                    pool.submit(self._replicate_or_error, change): change for change in changes
                }
                for ended in as_completed(running):
                    yield running[ended], ended.result()

    def _replicate_or_error(self, change: Change) -> Result | ReplicationError:
        """Replicate a change, if it is in the scope. Errors are returned, also those of defects."""
        try:
            self._settings.scope.require(change.ref)
            return self._stores.replicator(change).replicate(
                change.ref,
                change.expect(self._settings.sizes.parallel_from),
                watched=change.watched,
                evidence=change.evidence,
                is_request=change.is_request,
            )
        except ReplicationError as error:
            return error
        except Exception as defect:  # noqa: BLE001 - the log has it, with its stack
            failure = InternalError(
                f"A defect of the function stopped {change.ref.uri}: see its log."
            )
            failure.__cause__ = defect
            return failure

    def _settle(
        self,
        invocation: Invocation,
        results: Mapping[SourceRef, Result | ReplicationError],
        context: Context,
    ) -> Invocation:
        """Return the invocation without the messages that the function has stored in a queue."""
        failed = [*failures(invocation.messages, results)]
        if not failed:
            return invocation
        age = oldest_retried(failed)
        if age is not None:
            self._telemetry.postponed(age)
        queues = self._stores.queues
        if queues is None or invocation.answers_for_failures:
            return invocation
        kept = settle(
            failed,
            queues,
            self._settings.redelivery,
            deadline=Deadline(context.get_remaining_time_in_millis() / 1000 - RESPONSE_S),
            now=datetime.now(UTC),
            request_id=context.aws_request_id,
            report=self._telemetry.reject,
        )
        return invocation.without(kept)

    def step(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Run one step of the state machine that copies large objects."""
        from replicate import workflow  # noqa: PLC0415 - other invocations do without it

        self._stores.start_invocation(context)
        with self._telemetry.invocation(context.aws_request_id):
            return workflow.step(
                self._stores.large_copy(), self._telemetry, event, self._settings.scope
            )

    def reconcile(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Run one step of the state machine that reconciles both sides."""
        from replicate.reconcile import steps  # noqa: PLC0415 - as above

        self._stores.start_invocation(context)
        with self._telemetry.invocation(context.aws_request_id):
            return steps.step(self._stores.reconcile, self._telemetry, event)


@functools.cache
def _function() -> Function:
    """Build everything once. It stays in memory, so the garbage collector can ignore it."""
    gc.disable()
    try:
        function = Function(build_environment())
        gc.freeze()
    finally:
        gc.enable()
    return function


def build_environment() -> Environment:
    """Build the clients. Raise SettingsError, UnavailableError."""
    verify = certificates.use(os.environ, os.environ.get("AWS_REGION", ""))
    return Environment.from_environ(os.environ, verify=verify)
