"""Threads that do not die in silence."""

import threading
from collections.abc import Callable


class Threads:
    """Started together; `check` raises what broke one of them."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._problems: list[BaseException] = []

    def start(self, run: Callable[[], None], name: str) -> threading.Thread:
        def guarded() -> None:
            try:
                run()
            except BaseException as problem:  # noqa: BLE001 - raised again by `check`
                self._problems.append(problem)
                self.stopping.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def check(self) -> None:
        """Raises what broke a thread."""
        if self._problems:
            raise self._problems[0]

    def join(self) -> None:
        """Ask all to end, wait, and `check`."""
        self.stopping.set()
        for thread in self._threads:
            thread.join()
        self.check()
