"""The way in: Lambda calls `lambda_handler` with whatever invoked the function."""

import functools
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from replicate import report
from replicate.deadline import MARGIN_S, Deadline
from replicate.environment import Environment
from replicate.errors import (
    BatchFailedError,
    InternalError,
    ObjectNotFoundError,
    ReplicationError,
)
from replicate.events import Change, parse
from replicate.objects import Reason, SourceRef
from replicate.observability import Observer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from replicate.api import Api


def lambda_handler(event: object, context: "LambdaContext") -> dict[str, Any]:
    """Entry point. Clients are built by the first invocation, and so after a SnapStart restore."""
    return _function().handle(event, context)


@functools.cache
def _function() -> "Function":
    return Function(Environment.from_environ(os.environ))


class Function:
    """The invocations of one execution environment, one after the other."""

    def __init__(self, environment: Environment) -> None:
        settings = environment.settings
        self._environment = environment
        self._observer = Observer(settings.service, settings.metrics_namespace)

    def handle(self, event: object, context: "LambdaContext") -> dict[str, Any]:
        """Answer a request, or carry out an event's changes. Raises ReplicationError for these."""
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - MARGIN_S)
        self._observer.begin(context.aws_request_id)
        try:
            if isinstance(event, Mapping) and _is_request(event):
                return self._api.answer(event, context, lambda ref: self._asked_for(ref, deadline))
            return self._notified_of(event, deadline)
        finally:
            self._observer.end()

    @functools.cached_property
    def _api(self) -> "Api":
        from replicate.api import Api  # noqa: PLC0415 - the event path does without a router

        return Api(self._environment.settings.source_buckets)

    def _asked_for(self, ref: SourceRef, deadline: Deadline) -> dict[str, Any]:
        """One object by request. Raises ReplicationError."""
        told = self._replicate(Change(ref), deadline)
        if told["reason"] == Reason.SOURCE_GONE:
            raise ObjectNotFoundError(f"There is no {ref.uri}. Check the bucket and the key.")
        return told

    def _notified_of(self, event: object, deadline: Deadline) -> dict[str, Any]:
        """All changes of an event: one that fails keeps none of the others from being tried."""
        try:
            batch = parse(event, datetime.now(UTC))
        except ReplicationError as error:
            self._observer.failed(None, error, report.error(error))
            raise
        results, failures = [], []
        for malformed in batch.malformed:
            self._observer.failed(None, malformed, report.error(malformed))
            failures.append(f"{malformed.code}: {malformed.message}")
        for change in batch.changes:
            try:
                results.append(self._replicate(change, deadline))
            except ReplicationError as error:
                failures.append(f"{change.ref.uri}: {error.code}: {error.message}")
        if failures:
            total = len(failures) + len(results)
            raise BatchFailedError(
                f"{len(failures)} of {total} changes failed:\n" + "\n".join(failures)
            )
        return {"results": results}

    def _replicate(self, change: Change, deadline: Deadline) -> dict[str, Any]:
        """Make one object equal, and tell about it. Raises ReplicationError."""
        started = time.monotonic()
        try:
            outcome = self._environment.replicator(deadline).replicate(change.ref, change.hint)
        except ReplicationError as error:
            self._observer.failed(change.ref, error, report.error(error))
            raise
        except Exception as error:
            self._observer.bug(change.ref, error)
            raise InternalError(
                f"Replicating {change.ref.uri} met a defect of the replicator: see its log."
            ) from error
        told = report.outcome(
            outcome, self._environment.settings.naming, time.monotonic() - started
        )
        self._observer.done(outcome, told, change.occurred_at, datetime.now(UTC))
        return told


def _is_request(event: Mapping[str, Any]) -> bool:
    """Whether API Gateway invoked us: HTTP APIs and REST APIs say so in different ways."""
    context = event.get("requestContext")
    return isinstance(context, Mapping) and ("http" in context or "httpMethod" in context)
