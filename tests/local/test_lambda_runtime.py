"""The Lambda runtime behaves as the end-to-end tests and the demo expect."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tools.local.runtime import EXITED, FunctionError, LambdaRuntime

FUNCTION = """
import os
import time

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
            time.sleep(event["seconds"])
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


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[LambdaRuntime]:
    (tmp_path / "function.py").write_text(FUNCTION)
    with closing(
        LambdaRuntime(
            {"GREETING": "hello"},
            folder=tmp_path,
            code=tmp_path,
            handler="function.handler",
            timeout_s=2,
            memory_mb=256,
        )
    ) as started:
        yield started


def test_a_runtime_stays_warm_until_its_restart(runtime: LambdaRuntime) -> None:
    assert [runtime.invoke({})["calls"] for _ in range(2)] == [1, 2]
    runtime.restart()
    assert runtime.invoke({})["calls"] == 1


def test_the_context_has_lambdas_values(runtime: LambdaRuntime) -> None:
    result = runtime.invoke({})
    assert (result["name"], result["memory_mb"]) == ("replicate", 256)
    assert 0 < result["remaining_ms"] <= 2000


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
        ({"do": "sleep", "seconds": 5}, "Sandbox.Timedout"),
    ],
)
def test_the_invocation_after_a_failure_succeeds(
    runtime: LambdaRuntime, event: dict[str, object], error_type: str
) -> None:
    with pytest.raises(FunctionError) as caught:
        runtime.invoke(event)
    assert caught.value.error_type == error_type
    assert runtime.invoke({})["calls"] >= 1


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


def test_a_killed_function_fails_its_invocation_and_starts_again(runtime: LambdaRuntime) -> None:
    assert runtime.process() is None
    assert runtime.invoke({})["calls"] == 1
    with ThreadPoolExecutor() as executor:
        sleeping = executor.submit(runtime.invoke, {"do": "sleep", "seconds": 1.5})
        process = runtime.process()
        assert process
        time.sleep(0.2)  # within the invocation
        process.kill()
        with pytest.raises(FunctionError) as caught:
            sleeping.result()
    assert caught.value.error_type == EXITED
    assert runtime.invoke({})["calls"] == 1
    assert runtime.process() != process
