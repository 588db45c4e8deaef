"""The process that is measured when a client is Python code: `python -m tools.benchmarks.worker`.

It imports as little as it can, because its imports are missing from the client's cold start. It
reads a list of events as JSON from each line of standard input, and writes a report with their
results to each line of standard output. Output of the client itself is dropped.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

Handler = Callable[[dict[str, Any], object], dict[str, Any]]


class Context:
    """Lambda's context of an invocation."""

    function_name = "replicate"
    function_version = "1"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:replicate"
    aws_request_id = "5e0d2c1a-6a0f-4d2b-9f43-1f0f0f2f4c55"

    def __init__(self) -> None:
        self._ends = time.monotonic() + 900

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - time.monotonic()) * 1000)


def main() -> None:
    """Report the cold start, then run each list of events until standard input ends."""
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    started = _now()
    handler = _load(sys.argv[1])
    reports.write(json.dumps(_since(started)) + "\n")
    for line in sys.stdin:
        events = json.loads(line)
        results = []
        started = _now()
        for event in events:  # as Lambda: one after the other, and the result as JSON
            results.append(json.dumps(handler(event, Context())))  # noqa: PERF401
        report = _since(started)
        reports.write(json.dumps({**report, "results": [*map(json.loads, results)]}) + "\n")


def _load(client: str) -> Handler:
    """Import a client and build what it keeps."""
    handler: Handler = import_module(f"tools.benchmarks.clients.{client}").build()
    return handler


def _now() -> tuple[float, float]:
    return time.process_time(), time.monotonic()


def _since(started: tuple[float, float]) -> dict[str, Any]:
    cpu_s, wall_s = _now()
    return {"cpu_s": cpu_s - started[0], "wall_s": wall_s - started[1]}


if __name__ == "__main__":
    main()
