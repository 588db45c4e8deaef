"""Find the invoker that sent an event."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from replicate.entry import asynchronous, batch_operations, sqs
from replicate.entry.invocation import Context, Invocation
from replicate.entry.reading import unsupported
from replicate.errors import InvalidEventError, ReplicationError


def parse(
    event: object, context: Context, on_error: Callable[[ReplicationError], None]
) -> Invocation:
    """Read an event. Raise InvalidEventError if it comes from none of the invokers.

    `on_error` gets that error too, and those of parts of the event that cannot be read.
    """
    try:
        invocation = parse_invocation(event, datetime.now(UTC), context)
    except InvalidEventError as error:
        on_error(error)
        raise
    for unreadable in invocation.errors:
        on_error(unreadable)
    return invocation


def parse_invocation(event: object, now: datetime, context: Context) -> Invocation:
    """Read an event at `now`. Raise InvalidEventError if it comes from none of the invokers."""
    if not isinstance(event, Mapping):
        raise unsupported("not a JSON object")
    if _is_http(event):
        from replicate.entry import http_api  # noqa: PLC0415 - other invokers do without its imports

        return http_api.parse_invocation(event, now, context)
    if "invocationSchemaVersion" in event:
        return batch_operations.parse_invocation(event, now, context)
    if _is_sqs(event):
        return sqs.parse_invocation(event, now, context)
    return asynchronous.parse_invocation(event, now, context)


def _is_http(event: Mapping[str, object]) -> bool:
    """Return whether API Gateway sent the event, for an HTTP API or a REST API."""
    context = event.get("requestContext")
    return isinstance(context, Mapping) and ("http" in context or "httpMethod" in context)


def _is_sqs(event: Mapping[str, object]) -> bool:
    """Return whether Lambda read the event from a queue."""
    records = event.get("Records")
    return isinstance(records, list) and any(
        isinstance(record, Mapping) and record.get("eventSource") == "aws:sqs" for record in records
    )
