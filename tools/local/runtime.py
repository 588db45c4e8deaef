"""The function in Lambda's own runtime: its Runtime Interface Emulator and `awslambdaric`."""

import json
import platform
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import requests

from tools.common import http, processes
from tools.common.processes import Child, ChildError, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = REPOSITORY / "functions"
HANDLER = "replicate.handler.lambda_handler"

PATH = "/2015-03-31/functions/function/invocations"
STARTS = 3
"""Attempts to start: the emulator cannot choose a free port, and another program may take ours."""

RESPONSE_MARGIN_S = 15.0
"""Added to the function's timeout: an emulator that is silent for longer hangs."""

EXITED = "Runtime.ExitError"
"""Error type when the function's process ended during an invocation."""


class FunctionError(Exception):
    """The function raised an error, exited or timed out."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message


class LambdaRuntime:
    """One execution environment: the first invocation is a cold start. `close` it.

    Loading, context, timeouts and errors are those of Lambda; the memory size is not enforced.
    Thread-safe: invocations run one at a time, because the emulator crashes when it gets two.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        folder: Path,
        code: Path = CODE,
        handler: str = HANDLER,
        name: str = "replicate",
        timeout_s: int = 300,
        memory_mb: int = 1024,
    ) -> None:
        self.log = folder / f"{name}.log"
        self._timeout_s = timeout_s
        self._code = code
        self._handler = handler
        self._environment = {
            **processes.plain_environment(),
            "HOME": str(folder),  # the developer's has profiles and credentials
            "PYTHONPATH": str(code),
            "LAMBDA_TASK_ROOT": str(code),
            "AWS_EXECUTION_ENV": "AWS_Lambda_python{}.{}".format(*sys.version_info),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
            **environment,
        }
        self._lock = threading.Lock()
        self._closed = False
        self._emulator, self._port = self._start()

    def invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        """Invoke the function; return its result. Raises FunctionError."""
        with self._lock:
            try:
                body = self._post(json.dumps(event).encode())
            except requests.RequestException as error:
                if self._closed:
                    raise
                self._restart()
                raise FunctionError("Emulator.Crash", type(error).__name__) from error
        return _result(body)

    def restart(self) -> None:
        """Make the next invocation a cold start."""
        with self._lock:
            self._restart()

    def process(self) -> psutil.Process | None:
        """Return the function's process; None before its cold start."""
        for process in processes.descendants(self._emulator.pid):
            if processes.command_line(process)[1:3] == ["-m", "awslambdaric"]:
                return process
        return None

    def peak_rss_bytes(self) -> int:
        """Return the most memory the function has held since its cold start; 0 before that."""
        process = self.process()
        return processes.peak_rss_bytes(process.pid) if process else 0

    def close(self) -> None:
        """Stop the function. An invocation in progress fails. May be called again."""
        self._closed = True
        self._emulator.stop()

    def _restart(self) -> None:
        self._emulator.stop()
        self._emulator, self._port = self._start()

    def _start(self, attempts: int = STARTS) -> tuple[Child, int]:
        port, runtime_port = free_port(), free_port()
        emulator = Child(
            [
                _emulator_path(),
                *("--log-level", "error"),
                *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
                *("--runtime-api-address", f"127.0.0.1:{runtime_port}"),
                *(sys.executable, "-m", "awslambdaric", self._handler),
            ],
            env=self._environment,
            cwd=self._code,
            log=self.log,
        )
        try:
            emulator.wait_for_port(port)
        except ChildError:
            if attempts == 1:
                raise
            return self._start(attempts - 1)
        return emulator, port

    def _post(self, body: bytes) -> bytes:
        url = f"http://127.0.0.1:{self._port}{PATH}"
        timeout_s = self._timeout_s + RESPONSE_MARGIN_S
        return http.send("POST", url, data=body, timeout_s=timeout_s).content


def _result(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Read the function's result; the emulator reports an error in the body, with status 200."""
    text = body.decode()
    if not text:
        raise FunctionError(EXITED, "the process ended during its cold start")
    if text.startswith("Task timed out after"):
        raise FunctionError("Sandbox.Timedout", text)
    result = json.loads(text)
    if isinstance(result, dict) and "errorType" in result:
        raise FunctionError(result["errorType"], result.get("errorMessage", ""))
    return result


def _emulator_path() -> Path:
    """Find the emulator's binary. Raises ChildError, which says how to get it."""
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "unknown")
    pattern = f".venv/sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
    if found := sorted(REPOSITORY.glob(pattern)):
        return found[0]
    raise ChildError(
        f"No Lambda Runtime Interface Emulator at {pattern}: run `make setup`. The emulator is"
        " part of aws-sam-cli and runs on Linux."
    )
