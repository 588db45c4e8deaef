"""LambdaService invokes, retries, delays and stores failed events as Lambda does."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from waiting import WITHIN_S, wait_until

from tools.local.lambda_service import LambdaService
from tools.local.notifications import Json, notification, record
from tools.local.runtime import FunctionError

EVENT = notification(record("b", "k"))
NO_DELAYS = (0.0, 0.0)


class Runtime:
    """Fails so many times; blocks while `gate` is closed."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.events: list[object] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        self.events.append(event)
        assert self.gate.wait(WITHIN_S)
        self.failures -= 1
        if self.failures >= 0:
            raise FunctionError("BatchFailedError", f"{self.failures} more")
        return {"results": [{"status": "replicated"}]}

    def close(self) -> None:
        self.closed = True
        self.gate.set()


class Defective(Runtime):
    """Has a defect of its own, which is no error of the function."""

    def invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        raise RuntimeError(event)


@contextmanager
def service(*runtimes: Runtime, **options: Any) -> Iterator[LambdaService]:  # noqa: ANN401
    with closing(LambdaService(runtimes, **{"retry_delays_s": NO_DELAYS, **options})) as running:
        yield running


def numbered(number: int) -> Json:
    return notification(record("b", str(number)))


def wait_until_idle(running: LambdaService) -> None:
    wait_until(running.is_idle, "an idle service")


def test_an_event_that_fails_three_times_is_stored() -> None:
    with service(Runtime(failures=3)) as running:
        delivery = running.invoke_async(EVENT).result()
        assert (delivery.attempts, delivery.results, delivery.response) == (3, (), None)
        assert delivery.error is delivery.errors[-1]
        assert [error.message for error in delivery.errors] == ["2 more", "1 more", "0 more"]
        assert running.failed == running.deliveries == [delivery]


def test_a_retry_that_succeeds_stores_nothing() -> None:
    with service(Runtime(failures=2)) as running:
        delivery = running.invoke_async(EVENT).result()
        assert (delivery.attempts, len(delivery.errors), delivery.error) == (3, 2, None)
        assert delivery.results == ({"status": "replicated"},)
        assert running.failed == []


def test_retries_wait_for_their_delays() -> None:
    with service(Runtime(failures=2), retry_delays_s=(0.05, 0.1)) as running:
        assert running.invoke_async(EVENT).result().elapsed_s > 0.15


def test_a_redriven_event_is_stored_again_when_it_fails_again() -> None:
    with service(Runtime(failures=6)) as running:
        running.invoke_async(EVENT).result()
        (again,) = [future.result() for future in running.redrive()]
        assert running.failed == [again]
        (last,) = [future.result() for future in running.redrive()]
        assert (last.error, last.event, running.failed) == (None, EVENT, [])


def test_another_failure_destination_gets_the_failed_events() -> None:
    stored: list[object] = []
    with service(Runtime(failures=3), on_failure=stored.append) as running:
        delivery = running.invoke_async(EVENT).result()
        assert (stored, running.failed) == ([delivery], [])


def test_a_delayed_event_is_overtaken() -> None:
    runtime = Runtime()
    with service(runtime) as running:
        late = running.invoke_async(numbered(1), delay_s=1.0)
        running.accept([numbered(2), numbered(3)])
        wait_until_idle(running)
        keys = [d.event["Records"][0]["s3"]["object"]["key"] for d in running.deliveries]
        assert keys == ["2", "3", "1"]
        assert late.result().delay_s == 1.0


def test_each_runtime_runs_one_invocation_and_the_other_events_wait() -> None:
    runtimes = [Runtime(), Runtime()]
    for runtime in runtimes:
        runtime.gate.clear()
    with service(*runtimes) as running:
        running.accept(numbered(number) for number in range(5))
        wait_until(lambda: running.backlog() == 3, "two events run, and three wait")
        wait_until(lambda: all(runtime.events for runtime in runtimes), "one runs in each runtime")
        assert [len(runtime.events) for runtime in runtimes] == [1, 1]
        assert not running.is_idle()
        for runtime in runtimes:
            runtime.gate.set()
        wait_until_idle(running)
        assert running.backlog() == 0
        assert len(running.deliveries) == sum(len(runtime.events) for runtime in runtimes) == 5


def test_a_synchronous_invocation_is_not_retried() -> None:
    runtime = Runtime(failures=1)
    with service(runtime) as running:
        with pytest.raises(FunctionError):
            running.invoke(EVENT)
        assert len(runtime.events) == 1
        assert running.invoke(EVENT)["results"]
        assert running.deliveries == []


def test_closing_ends_waiting_and_running_invocations() -> None:
    runtime = Runtime()
    runtime.gate.clear()
    with service(runtime) as running:
        futures = [running.invoke_async(EVENT), running.invoke_async(EVENT, delay_s=60)]
    assert runtime.closed
    assert all(future.cancelled() for future in futures)


def test_a_defect_of_a_runtime_is_raised() -> None:
    runtime = Defective()
    running = LambdaService([runtime])
    running.invoke_async(EVENT)
    with pytest.raises(RuntimeError):
        wait_until_idle(running)
    with pytest.raises(RuntimeError):
        running.invoke_async(EVENT).result()
    with pytest.raises(RuntimeError):
        running.close()
    assert runtime.closed
