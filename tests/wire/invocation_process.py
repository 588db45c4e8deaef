"""Runs one invocation in its own process, so that a test can kill it or measure its memory.

`start` forks it from a process that has imported the function. `python invocation_process.py EVENT`
is a new process, with the variables that it has.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess

from replicate.handler import Function
from replicate.wiring import Environment

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class _Context:
    """The context object that Lambda passes with an invocation."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def start(event: object, environ: Mapping[str, str]) -> BaseProcess:
    """Start an invocation that has exactly these environment variables. Its output is lost."""
    process = _CONTEXT.Process(target=_run_silently, args=(event, dict(environ)))
    process.start()
    return process


def _run_silently(event: object, environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    run(event)


def run(event: object) -> None:
    """Run one invocation in a new execution environment."""
    Function(Environment.from_environ(os.environ)).handle(event, _Context())


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
