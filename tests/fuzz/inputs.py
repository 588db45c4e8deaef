"""Strategies for unexpected inputs: any JSON, mutated events, and HTTP requests of any kind."""

import base64
import copy
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from memory import sample_event

from replicate.entry.http_api import ROUTE

Json = Any

TEXTS = st.text(st.characters(categories=None), max_size=30) | st.sampled_from(
    ["", "%", "%zz", "%ff", "+", "..", "a\r\nb: c", "\ud800", "\x00", "null", "é" * 600, "x" * 5000]
)
"""Includes text that UTF-8 cannot encode, and text with a special meaning."""

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.sampled_from([10**400, -1, "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z"])
)
KEYS = TEXTS | st.sampled_from(
    [
        *("Records", "eventSource", "s3", "bucket", "object", "key", "name", "size", "eventTime"),
        *("eventName", "detail", "source", "tasks", "invocationSchemaVersion", "requestPayload"),
        *("Type", "Message", "Event", "requestContext", "http", "httpMethod", "version", "doctor"),
        *("failedEvent", "retriedEvent", "attempts", "transfers", "firstSentAt", "sentAt"),
    ]
)
JSON: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)

EVENTBRIDGE = {
    "version": "0",
    "source": "aws.s3",
    "detail-type": "Object Created",
    "time": "2026-11-22T10:00:00Z",
    "detail": {"bucket": {"name": "source"}, "object": {"key": "key", "size": 5}},
}
BATCH = {
    "invocationSchemaVersion": "2.0",
    "invocationId": "invocation",
    "job": {"id": "job"},
    "tasks": [
        {"taskId": "one", "s3Key": "key", "s3Bucket": "source"},
        {"taskId": "two", "s3Key": "k%20y", "s3BucketArn": "arn:aws:s3:::source"},
    ],
}
PUT = sample_event("s3-put")
EVENTS: tuple[Json, ...] = (
    PUT,
    sample_event("s3-put-multiple"),
    sample_event("s3-delete"),
    sample_event("s3-restore-completed"),
    sample_event("s3-test-event"),
    EVENTBRIDGE,
    BATCH,
    {"requestPayload": PUT, "responsePayload": {"errorMessage": "it failed"}},
    {"retriedEvent": PUT, "transfers": 1, "firstSentAt": "x", "sentAt": "x"},
)
REQUESTS: tuple[Json, ...] = (sample_event("api-v1"), sample_event("api-v2"))


def sqs_event(*bodies: Json) -> Json:
    """Return an SQS event with these message bodies."""
    return {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": str(number), "body": body}
            for number, body in enumerate(bodies)
        ]
    }


def paths(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a JSON value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(found for key, each in inner for found in paths(each, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, events: tuple[Json, ...]) -> Json:
    """Return a real event with one to three values replaced or removed."""
    event = copy.deepcopy(draw(st.sampled_from(events)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(event)))
        if not path:
            return draw(JSON)
        parent = event
        for key in path[:-1]:
            parent = parent[key]
        if isinstance(parent, dict) and draw(st.booleans()):
            del parent[path[-1]]
        else:
            parent[path[-1]] = draw(JSON)
    return event


@st.composite
def mutated_messages(draw: st.DrawFn) -> Json:
    """Return an SQS event with valid and invalid messages."""
    bodies = st.one_of(
        mutated(EVENTS).map(json.dumps),
        mutated(EVENTS).map(lambda event: json.dumps({"Type": "Notification", "Message": event})),
        TEXTS,
        JSON,
    )
    return sqs_event(*draw(st.lists(bodies, min_size=1, max_size=4)))


BUCKETS = st.sampled_from(["source", "other-bucket", "Source", "a", "192.168.0.1"]) | TEXTS
GOOD_BODIES = st.fixed_dictionaries({"s3_bucket": BUCKETS, "s3_key": TEXTS | st.just("key")})
BODIES = st.one_of(
    GOOD_BODIES.map(json.dumps),
    JSON.map(json.dumps),
    TEXTS,
    st.just("[" * 50_000),
    st.just('{"s3_bucket": ' * 3000),
    st.none(),
)
CONTENT_TYPES = (
    st.just("application/json")
    | st.sampled_from(
        ["application/json; charset=utf-8", "APPLICATION/JSON", "text/plain", ";", ""]
    )
    | TEXTS
)
METHODS = st.just("POST") | st.sampled_from(["GET", "PUT", "HEAD", "OPTIONS", "TRACE", "BREW"])
ROUTES = st.just(ROUTE) | st.sampled_from(["/", "", f"{ROUTE}/", "/v1", "/v1/replicate/x"]) | TEXTS


def api_request(body: str, path: str = ROUTE) -> Json:
    """Return the event of an HTTP API for a request with a JSON body."""
    event = copy.deepcopy(sample_event("api-v2"))
    event |= {"body": body, "isBase64Encoded": False, "rawPath": path}
    event["headers"] = {"content-type": "application/json"}
    event["requestContext"]["http"]["path"] = path
    return event


@st.composite
def requests(draw: st.DrawFn) -> Json:
    """Return the API Gateway event, in one of its two formats, for a request of any kind."""
    body, encoded = draw(BODIES), draw(st.booleans())
    if body is not None and encoded:
        raw = draw(st.binary(max_size=20)) if draw(st.booleans()) else body.encode(errors="replace")
        body = base64.b64encode(raw).decode()
    headers = draw(st.dictionaries(st.text("abc-", min_size=1), TEXTS, max_size=2))
    if draw(st.integers(0, 9)):
        headers[draw(st.sampled_from(["content-type", "Content-Type"]))] = draw(CONTENT_TYPES)
    method, path = draw(METHODS), draw(ROUTES)
    event = copy.deepcopy(draw(st.sampled_from(REQUESTS)))
    event |= {"body": body, "isBase64Encoded": encoded, "headers": headers}
    if event.get("version") == "2.0":
        event["rawPath"] = event["requestContext"]["http"]["path"] = path
        event["requestContext"]["http"]["method"] = method
    else:
        event |= {"path": path, "httpMethod": method}
        event["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
    return event


def as_sent_by_lambda(response: Mapping[str, Any]) -> Json:
    """Return a response as its receiver gets it. The runtime sends UTF-8 without escapes."""
    return json.loads(json.dumps(response, ensure_ascii=False).encode())
