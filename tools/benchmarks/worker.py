"""The process that is measured when a client is Python code: imports it, feeds it events.

Run as `python -m tools.benchmarks.worker <client>`. It imports as little as it can: whatever it
imports is missing from the client's cold start. One order a line on standard input, one report a
line on standard output; what the client itself prints goes nowhere.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tools.benchmarks import process

Handler = Callable[[dict[str, Any], object], dict[str, Any]]


class Context:
    """What Lambda tells about an invocation."""

    function_name = "replicate"
    function_version = "1"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:replicate"
    aws_request_id = "5e0d2c1a-6a0f-4d2b-9f43-1f0f0f2f4c55"

    def __init__(self) -> None:
        self._ends = time.monotonic() + 900

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - time.monotonic()) * 1000)


def event(keys: list[str], size: int, age_s: float) -> dict[str, Any]:
    """An S3 notification as Lambda hands it over; S3 itself puts one record into each."""
    occurred = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat(timespec="milliseconds")
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-east-1",
                "eventTime": occurred.replace("+00:00", "Z"),
                "eventName": "ObjectCreated:Put",
                "userIdentity": {"principalId": "EXAMPLE"},
                "requestParameters": {"sourceIPAddress": "127.0.0.1"},
                "responseElements": {"x-amz-request-id": "EXAMPLE", "x-amz-id-2": "EXAMPLE"},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "replicate",
                    "bucket": {
                        "name": "source",
                        "ownerIdentity": {"principalId": "EXAMPLE"},
                        "arn": "arn:aws:s3:::source",
                    },
                    "object": {
                        "key": key,
                        "size": size,
                        "eTag": "0123456789abcdef0123456789abcdef",
                        "sequencer": "0A1B2C3D4E5F678901",
                    },
                },
            }
            for key in keys
        ]
    }


def main() -> None:
    """Obey until standard input ends."""
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    began = time.process_time(), time.monotonic()
    handler = _load(sys.argv[1])
    report = _since(*began)
    reports.write(json.dumps({**report, "rss": process.rss()}) + "\n")
    for line in sys.stdin:
        reports.write(json.dumps(_carry_out(json.loads(line), handler)) + "\n")


def _load(client: str) -> Handler:
    """Import a client and build what it keeps: its cold start."""
    if client == "replicator":
        from tools.benchmarks.clients.replicator import build  # noqa: PLC0415 - this is what is measured
    else:
        from tools.benchmarks.clients.tutorial import build  # noqa: PLC0415 - same

    return build()


def _carry_out(order: dict[str, Any], handler: Handler) -> dict[str, Any]:
    keys, each = order["keys"], order["per_event"]
    groups = [keys[at : at + each] for at in range(0, len(keys), each)]
    events = [event(group, order["size"], order["age_s"]) for group in groups]
    results = []
    began = time.process_time(), time.monotonic()
    for happened in events:  # as Lambda does: one after the other, and the result as JSON
        results.append(json.dumps(handler(happened, Context())))  # noqa: PERF401
    report = _since(*began)
    told = {entry["status"] for result in map(json.loads, results) for entry in result["results"]}
    return {**report, "rss_peak": process.rss_peak(), "statuses": sorted(told)}


def _since(cpu_s: float, monotonic_s: float) -> dict[str, Any]:
    return {"cpu_s": time.process_time() - cpu_s, "wall_s": time.monotonic() - monotonic_s}


if __name__ == "__main__":
    main()
