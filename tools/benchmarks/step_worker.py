"""A worker of the state machine: `python -m tools.benchmarks.step_worker`.

It reads an event as JSON from each line of standard input, invokes the function's handler with it,
and writes the result to a line of standard output. Output of the function itself is dropped.
"""

import json
import os
import sys

from replicate import handler
from tools.benchmarks.worker import Context


def main() -> None:
    """Run each event until standard input ends. An error of the function ends the process."""
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        results.write(json.dumps(handler.lambda_handler(json.loads(line), Context())) + "\n")


if __name__ == "__main__":
    main()
