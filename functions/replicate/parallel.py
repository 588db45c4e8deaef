"""Tasks of one invocation that run at the same time, in threads."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from replicate.protocol.ports import Stop, StoppedError

T = TypeVar("T")


class Threads:
    """Runs up to `count` tasks at the same time."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, tasks: Sequence[Callable[[Stop], T]]) -> list[T]:
        """Return the results in order. If a task fails, stop the others and raise its error."""
        stop = Stop()

        def run(task: Callable[[Stop], T]) -> T:
            if stop.requested:
                raise StoppedError
            try:
                return task(stop)
            except BaseException:
                stop.requested = True
                raise

        if len(tasks) <= 1:
            return [run(task) for task in tasks]
        with ThreadPoolExecutor(min(self._count, len(tasks))) as pool:
            running = [pool.submit(run, task) for task in tasks]
        errors = [error for future in running if (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, StoppedError)):
            raise error
        return [future.result() for future in running]


def read_ahead(pages: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield the same pages, and read the next one meanwhile."""
    try:
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(next, pages, None)
            while (page := coming.result()) is not None:
                coming = pool.submit(next, pages, None)
                yield page
    finally:
        pages.close()
