"""The Lambda runtime behaves as the end-to-end tests and the demo expect."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from waiting import wait_until

from tools.local.runtime import EXITED, FunctionError, LambdaRuntime

FUNCTION = """
import os
import time
from pathlib import Path

calls = 0


def handler(event, context):
    global calls
    calls += 1
    match event.get("do"):
        case "raise":
            raise ValueError("boom")
        case "exit":
            os._exit(3)
        case "sleep":
            Path("sleeping").touch()
            time.sleep(600)
        case "allocate":
            b"x" * event["bytes"]
    return {
        "calls": calls,
        "environment": dict(os.environ),
        "name": context.function_name,
        "memory_mb": int(context.memory_limit_in_mb),
        "remaining_ms": context.get_remaining_time_in_millis(),
    }
"""

MIB = 1024 * 1024
TIMEOUT_S = 60
"""No machine is so slow. Only the test of the timeout has a shorter one."""


@contextmanager
def started(folder: Path, timeout_s: int) -> Iterator[LambdaRuntime]:
    (folder / "function.py").write_text(FUNCTION)
    with closing(
        LambdaRuntime(
            {"GREETING": "hello"},
            folder=folder,
            code=folder,
            handler="function.handler",
            timeout_s=timeout_s,
            memory_mb=256,
        )
    ) as runtime:
        yield runtime


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[LambdaRuntime]:
    with started(tmp_path, TIMEOUT_S) as runtime:
        yield runtime


def test_a_runtime_stays_warm_until_its_restart(runtime: LambdaRuntime) -> None:
    assert [runtime.invoke({})["calls"] for _ in range(2)] == [1, 2]
    runtime.restart()
    assert runtime.invoke({})["calls"] == 1


def test_the_context_has_lambdas_values(runtime: LambdaRuntime) -> None:
    result = runtime.invoke({})
    assert (result["name"], result["memory_mb"]) == ("replicate", 256)
    assert 0 < result["remaining_ms"] <= 1000 * TIMEOUT_S


def test_the_function_has_its_own_environment_variables_only(
    runtime: LambdaRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-the-developer")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    runtime.restart()
    environment = runtime.invoke({})["environment"]
    assert environment["GREETING"] == "hello"
    assert environment["HOME"] == str(tmp_path)
    assert not {"AWS_PROFILE", "HTTPS_PROXY"} & environment.keys()


@pytest.mark.parametrize(
    ("event", "error_type"),
    [
        ({"do": "raise"}, "ValueError"),
        ({"do": "exit"}, "Runtime.ExitError"),
    ],
)
def test_the_invocation_after_a_failure_succeeds(
    runtime: LambdaRuntime, event: dict[str, object], error_type: str
) -> None:
    with pytest.raises(FunctionError) as caught:
        runtime.invoke(event)
    assert caught.value.error_type == error_type
    assert runtime.invoke({})["calls"] >= 1


def test_an_invocation_ends_after_its_timeout_and_a_later_one_succeeds(tmp_path: Path) -> None:
    with started(tmp_path, timeout_s=1) as runtime:

        def succeeds() -> bool:
            """Return whether it did within a second. A busy machine may need some attempts."""
            try:
                return bool(runtime.invoke({})["calls"])
            except FunctionError:
                return False

        with pytest.raises(FunctionError) as caught:
            runtime.invoke({"do": "sleep"})
        assert caught.value.error_type == "Sandbox.Timedout"
        wait_until(succeeds, "an invocation that succeeds")


def test_invocations_from_many_threads_take_turns(runtime: LambdaRuntime) -> None:
    calls: list[int] = []
    threads = [
        threading.Thread(target=lambda: calls.append(runtime.invoke({})["calls"])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(calls) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_peak_memory_is_the_functions_and_starts_again_after_a_restart(
    runtime: LambdaRuntime,
) -> None:
    assert runtime.peak_rss_bytes() == 0
    runtime.invoke({})
    before = runtime.peak_rss_bytes()
    runtime.invoke({"do": "allocate", "bytes": 64 * MIB})
    assert 60 * MIB < runtime.peak_rss_bytes() - before < 80 * MIB  # the kernel counts in batches
    runtime.restart()
    runtime.invoke({})
    assert runtime.peak_rss_bytes() < before + 8 * MIB


def test_a_killed_function_fails_its_invocation_and_starts_again(
    runtime: LambdaRuntime, tmp_path: Path
) -> None:
    assert runtime.process() is None
    assert runtime.invoke({})["calls"] == 1
    with ThreadPoolExecutor() as executor:
        sleeping = executor.submit(runtime.invoke, {"do": "sleep"})
        process = runtime.process()
        assert process
        wait_until((tmp_path / "sleeping").exists, "the invocation")
        process.kill()
        with pytest.raises(FunctionError) as caught:
            sleeping.result()
    assert caught.value.error_type == EXITED
    assert runtime.invoke({})["calls"] == 1
    assert runtime.process() != process
