"""Lambda's side of an invocation: execution environments, asynchronous events, retries, failures.

event ──> due? ──> idle runtime ──> function ──> Delivery
  ▲                                    │ error
  └───── after a retry delay ──────────┴── last attempt: failure destination
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tools.local.notifications import Json
from tools.local.runtime import FunctionError

T = TypeVar("T")

RETRY_DELAYS_S = (0.2, 0.4)
"""Before the two retries of an asynchronous invocation; Lambda waits one minute and two."""


class Runtime(Protocol):
    """An execution environment, such as LambdaRuntime."""

    def invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        """Return the function's result. Raises FunctionError."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How one asynchronous event ended."""

    event: Json
    response: Json | None
    """None when every attempt failed."""
    errors: tuple[FunctionError, ...]
    """Of the failed attempts, in their order."""
    delay_s: float
    """How long the event was held back before its first attempt."""
    elapsed_s: float
    """From the first attempt to the end of the last."""

    @property
    def attempts(self) -> int:
        return len(self.errors) + (self.response is not None)

    @property
    def results(self) -> tuple[Json, ...]:
        """The function's result for each record; empty when the event failed."""
        return tuple(self.response["results"]) if self.response else ()

    @property
    def error(self) -> FunctionError | None:
        """Of the last attempt; None when it succeeded."""
        return self.errors[-1] if self.response is None else None


class LambdaService:
    """A function with one or more runtimes, each of which runs one invocation at a time.

    Thread-safe. Owns the runtimes: `close` closes them. `on_delivery` and `on_failure` are called
    one at a time, on the service's thread.
    """

    def __init__(
        self,
        runtimes: Sequence[Runtime],
        *,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
        on_delivery: Callable[[Delivery], None] = lambda _: None,
        on_failure: Callable[[Delivery], None] | None = None,
    ) -> None:
        """`on_failure` stores what failed at last; the default stores it in `failed`."""
        self.deliveries: list[Delivery] = []
        self.failed: list[Delivery] = []
        self.spans: list[tuple[float, float]] = []
        """When each invocation began and ended, by `time.perf_counter`, in the order of the ends:
        what Lambda bills, and what it counts as concurrent executions."""
        self._runtimes = runtimes
        self._retry_delays_s = retry_delays_s
        self._on_delivery = on_delivery
        self._on_failure = on_failure or self.failed.append
        self._in_progress: set[Future[Delivery]] = set()
        self._lock = threading.Lock()
        self._backlog = 0
        self._idle: asyncio.Queue[Runtime] = asyncio.Queue()
        for runtime in runtimes:
            self._idle.put_nowait(runtime)
        self._invocations = ThreadPoolExecutor(len(runtimes), "invocation")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lambda-service")
        self._thread.start()

    def invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        """Invoke the function once a runtime is idle; return its result. Raises FunctionError."""
        return self._submit(self._invoke(event)).result()

    def invoke_async(self, event: Json, delay_s: float = 0.0) -> Future[Delivery]:
        """Accept an event; invoke the function after `delay_s`, and again when it fails."""
        with self._lock:
            future = self._submit(self._deliver(event, delay_s))
            self._in_progress.add(future)
        return future

    def accept(self, events: Iterable[Json]) -> None:
        """Accept events that are due at once."""
        for event in events:
            self.invoke_async(event)

    def redrive(self) -> list[Future[Delivery]]:
        """Accept again every event in `failed`."""
        failed = self.failed.copy()
        del self.failed[: len(failed)]
        return [self.invoke_async(delivery.event) for delivery in failed]

    def backlog(self) -> int:
        """Count the events that are due and wait for an idle runtime."""
        return self._backlog

    def is_idle(self) -> bool:
        """Whether every accepted event has ended. Raises what broke the service."""
        with self._lock:
            ended = {future for future in self._in_progress if future.done()}
            self._in_progress -= ended
            for future in ended:
                future.result()
            return not self._in_progress

    def close(self) -> None:
        """Drop the events that have not ended, and close the runtimes. Raises as `is_idle`."""
        self._submit(cancel_others()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for runtime in self._runtimes:
            runtime.close()
        self._invocations.shutdown()
        self._loop.close()
        for future in self._in_progress:
            if future.done() and not future.cancelled():
                future.result()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _deliver(self, event: Json, delay_s: float) -> Delivery:
        await asyncio.sleep(delay_s)
        started = time.perf_counter()
        response: Json | None = None
        errors: list[FunctionError] = []
        for retry_delay_s in (0.0, *self._retry_delays_s):
            await asyncio.sleep(retry_delay_s)
            try:
                response = await self._invoke(event)
                break
            except FunctionError as error:
                errors.append(error)
        delivery = Delivery(
            event=event,
            response=response,
            errors=tuple(errors),
            delay_s=delay_s,
            elapsed_s=time.perf_counter() - started,
        )
        self.deliveries.append(delivery)
        if delivery.error:
            self._on_failure(delivery)
        self._on_delivery(delivery)
        return delivery

    async def _invoke(self, event: object) -> Any:  # noqa: ANN401 - JSON
        self._backlog += 1
        try:
            runtime = await self._idle.get()
        finally:
            self._backlog -= 1
        began = time.perf_counter()
        try:
            return await self._loop.run_in_executor(self._invocations, runtime.invoke, event)
        finally:
            self.spans.append((began, time.perf_counter()))
            self._idle.put_nowait(runtime)


async def cancel_others() -> None:
    """Cancel all other tasks of this loop, and wait until they have ended."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
