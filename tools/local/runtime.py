"""The function in Lambda's own runtime: its Runtime Interface Emulator and `awslambdaric`."""

import http.client
import json
import os
import platform
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tools.common import processes
from tools.common.processes import Child, ChildError, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = REPOSITORY / "functions"
HANDLER = "replicate.handler.lambda_handler"

EMULATOR_VARIABLE = "LAMBDA_EMULATOR"
"""Environment variable that names another emulator than the one in the aws-sam-cli package."""

PATH = "/2015-03-31/functions/function/invocations"
STARTS = 3
"""Attempts: the emulator cannot pick a port itself, and one that was free may be taken by now."""

ANSWER_MARGIN_S = 15.0
"""The emulator ends a function at its timeout: whoever takes this much longer hangs."""


class FunctionError(Exception):
    """The function raised, ended or ran out of time. The text is the error's own."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message


class LambdaRuntime:
    """One execution environment: it starts cold at the first invocation and then stays warm.

    Safe across threads, one invocation at a time: the emulator crashes when it gets a second one.
    Faithful in loading, context, timeouts and errors; the memory size is declared, not enforced.
    `close` it.
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
            "HOME": str(folder),  # not the developer's, with profiles and credentials in it
            "PYTHONPATH": str(code),
            "LAMBDA_TASK_ROOT": str(code),
            "AWS_EXECUTION_ENV": "AWS_Lambda_python{}.{}".format(*sys.version_info),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
            **environment,
        }
        self._lock = threading.Lock()
        self._emulator, self._port = self._start()

    def invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        """Hand over an event; returns what the function returned. Raises FunctionError."""
        with self._lock:
            answer = self._post(json.dumps(event).encode())
        return _result(answer)

    def restart(self) -> None:
        """Make the next invocation a cold start."""
        with self._lock:
            self._emulator.stop()
            self._emulator, self._port = self._start()

    def peak_rss_bytes(self) -> int:
        """The most memory the function's process held since its cold start; 0 before that."""
        for process in processes.descendants(self._emulator.pid):
            line = processes.command_line(process)
            if "awslambdaric" in line and line[0] == sys.executable:
                return processes.peak_rss_bytes(process.pid)
        return 0

    def close(self) -> None:
        self._emulator.stop()

    def _start(self) -> tuple[Child, int]:
        for _ in range(STARTS - 1):
            try:
                return self._start_once()
            except ChildError:
                continue
        return self._start_once()

    def _start_once(self) -> tuple[Child, int]:
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
        emulator.wait_for_port(port)
        return emulator, port

    def _post(self, body: bytes) -> bytes:
        timeout_s = self._timeout_s + ANSWER_MARGIN_S
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout_s)) as connection:
            connection.request("POST", PATH, body)
            return connection.getresponse().read()


def _result(answer: bytes) -> Any:  # noqa: ANN401 - JSON
    """What the function returned. The emulator says only in the body that something failed."""
    text = answer.decode()
    if text.startswith("Task timed out after"):
        raise FunctionError("Sandbox.Timedout", text)
    result = json.loads(text) if text else None
    if isinstance(result, dict) and "errorType" in result:
        raise FunctionError(result["errorType"], result.get("errorMessage", ""))
    return result


def _emulator_path() -> Path:
    """The emulator's binary. Raises ChildError, which says how to get it."""
    if override := os.environ.get(EMULATOR_VARIABLE):
        return Path(override)
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "unknown")
    pattern = f".venv/sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
    if found := sorted(REPOSITORY.glob(pattern)):
        return found[0]
    raise ChildError(
        f"No Lambda Runtime Interface Emulator at {pattern}: run `make setup` (it comes with the"
        f" aws-sam-cli package and runs on Linux), or name one in {EMULATOR_VARIABLE}."
    )
