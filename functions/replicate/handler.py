"""The way in: Lambda calls `lambda_handler` with whatever invoked the function."""

import gc

gc.disable()  # Collecting while everything is imported is a tenth of a cold start.

import functools
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from replicate import certificates
from replicate.entry import report
from replicate.entry.answers import Results, Told, answer
from replicate.entry.events import Change, parse
from replicate.errors import InternalError, ObjectNotFoundError, ReplicationError
from replicate.protocol.deadline import MARGIN_S, Deadline
from replicate.protocol.model import Reason, SourceRef
from replicate.protocol.plan import Policy
from replicate.protocol.replicator import Replicator
from replicate.settings import Settings
from replicate.telemetry import Observer
from replicate.wiring import Environment

if TYPE_CHECKING:
    from replicate.entry.http_api import Api

gc.enable()

# Else google-cloud-storage asks in the background what the bucket is like, tracing or not.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

CONCURRENCY = 10
"""Changes of one event that are worked on at a time; each takes up to 8 MiB of memory."""


class Invocation(Protocol):
    """What is used of Lambda's context."""

    @property
    def aws_request_id(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int: ...


class Stores(Protocol):
    """What is needed of an `Environment`."""

    @property
    def settings(self) -> Settings: ...

    def replicator(self, deadline: Deadline, policy: Policy) -> Replicator: ...


def lambda_handler(event: object, context: Invocation) -> dict[str, Any]:
    """Entry point. Clients are built by the first invocation, and so after a SnapStart restore."""
    if isinstance(event, Mapping) and event.get("doctor") is True:
        return _examine(context)
    return _function().handle(event, context)


def _examine(context: Invocation) -> dict[str, Any]:
    """Anew, with nothing that is kept: what is wrong may have come after the last building."""
    from replicate import doctor  # noqa: PLC0415 - of no use to any other invocation

    return doctor.examine(_environment, _deadline(context))


@functools.cache
def _function() -> "Function":
    """Build everything once; what is built stays, so the collector need not look at it again."""
    gc.disable()
    try:
        function = Function(_environment())
        gc.freeze()
    finally:
        gc.enable()
    return function


def _environment() -> Environment:
    """Raises SettingsError."""
    verify = certificates.use(os.environ, os.environ.get("AWS_REGION", ""))
    return Environment.from_environ(os.environ, verify=verify)


class Function:
    """The invocations of one execution environment, one after the other."""

    def __init__(self, environment: Stores) -> None:
        settings = environment.settings
        self._environment = environment
        self._observer = Observer(settings.service, settings.metrics_namespace)

    def handle(self, event: object, context: Invocation) -> dict[str, Any]:
        """Answer a request, or carry out an event's changes. Raises ReplicationError for these."""
        deadline = _deadline(context)
        self._observer.begin(context.aws_request_id)
        try:
            if isinstance(event, Mapping) and _is_request(event):
                return self._api.answer(event, context, lambda ref: self._asked_for(ref, deadline))
            return self._delivered(event, deadline)
        finally:
            self._observer.end()

    @functools.cached_property
    def _api(self) -> "Api":
        from replicate.entry.http_api import Api  # noqa: PLC0415 - the event path does without a router

        return Api(self._environment.settings.source_buckets)

    def _asked_for(self, ref: SourceRef, deadline: Deadline) -> Told:
        """One object by request. Raises ReplicationError."""
        told = self._replicate(Change(ref), deadline)
        if told["reason"] == Reason.SOURCE_GONE:
            raise ObjectNotFoundError(f"There is no {ref.uri}. Check the bucket and the key.")
        return told

    def _delivered(self, event: object, deadline: Deadline) -> dict[str, Any]:
        """All changes of an event: one that fails keeps none of the others from being tried."""
        try:
            delivery = parse(event, datetime.now(UTC))
        except ReplicationError as error:
            self._observer.failed(None, error, report.error(error))
            raise
        for item in delivery.items:
            for malformed in item.malformed:
                self._observer.failed(None, malformed, report.error(malformed))
        return answer(delivery, self._replicate_all(delivery.changes(), deadline))

    def _replicate_all(self, changes: Sequence[Change], deadline: Deadline) -> Results:
        """Several at a time: small objects wait for the network, not for each other."""
        if len(changes) <= 1:
            return {change.ref: self._tried(change, deadline) for change in changes}
        with ThreadPoolExecutor(min(CONCURRENCY, len(changes))) as pool:
            told = pool.map(lambda change: self._tried(change, deadline), changes)
            return {change.ref: result for change, result in zip(changes, told, strict=True)}

    def _tried(self, change: Change, deadline: Deadline) -> Told | ReplicationError:
        try:
            return self._replicate(change, deadline)
        except ReplicationError as error:
            return error

    def _replicate(self, change: Change, deadline: Deadline) -> Told:
        """Make one object equal, and tell about it. Raises ReplicationError."""
        started = time.monotonic()
        try:
            policy = self._environment.settings.policy_for(by_lifecycle=change.by_lifecycle)
            replicator = self._environment.replicator(deadline, policy)
            outcome = replicator.replicate(change.ref, change.hint)
        except ReplicationError as error:
            self._observer.failed(change.ref, error, report.error(error))
            raise
        except Exception as error:
            self._observer.bug(change.ref, error)
            raise InternalError(
                f"Replicating {change.ref.uri} met a defect of the replicator: see its log."
            ) from error
        elapsed_s = time.monotonic() - started
        told = report.outcome(outcome, self._environment.settings.naming, elapsed_s)
        self._observer.done(outcome, told, change.occurred_at, datetime.now(UTC))
        return told


def _deadline(context: Invocation) -> Deadline:
    return Deadline(context.get_remaining_time_in_millis() / 1000 - MARGIN_S)


def _is_request(event: Mapping[str, Any]) -> bool:
    """Whether API Gateway invoked us: HTTP APIs and REST APIs say so in different ways."""
    context = event.get("requestContext")
    return isinstance(context, Mapping) and ("http" in context or "httpMethod" in context)
