"""Runs one invocation in its own process, so that a test can kill it.

Usage: `python invocation_process.py EVENT`.
"""

import json
import os
import sys

from replicate.handler import Function
from replicate.wiring import Environment


class _Context:
    """The context object that Lambda passes with an invocation."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


if __name__ == "__main__":
    function = Function(Environment.from_environ(os.environ))
    function.handle(json.loads(sys.argv[1]), _Context())
