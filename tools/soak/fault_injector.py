"""Random faults of the local GCS server, at a rate."""

import json
import threading
import time
from collections.abc import Callable
from random import Random
from typing import TextIO

from tools.common.sizes import KIB, MIB
from tools.local.gcs.faults import Fault, FaultQueue

DATA = frozenset({"objects.insert", "upload.put", "upload.final"})
WITH_BODY = DATA | {"objects.patch", "objects.compose"}
FUNCTION_OPERATIONS = WITH_BODY | {
    "objects.get",
    "objects.delete",
    "upload.start",
    "upload.status",
    "upload.cancel",
    "token",
}
"""The operations of the function. Faults leave out those that only the comparisons use."""

UPLOAD_FACTOR = 4
"""Requests of resumable uploads fail so many times as often, because there are few of them."""

_Kinds = dict[str, Callable[[Random], Fault]]

_ANY: _Kinds = {
    "503": lambda _: Fault(status=503),
    "429": lambda _: Fault(status=429),
    "response lost": lambda _: Fault(lose_response=True),
    "response cut off": lambda rng: Fault(cut_response_after=rng.randrange(1, 200)),
    "stalled": lambda rng: Fault(stall=rng.uniform(0.1, 0.8)),
}
_BODY: _Kinds = {
    "request cut off": lambda rng: Fault(
        cut_after=rng.randrange(2), reset=rng.choice([False, True])
    )
}
_DATA: _Kinds = {"corrupted": lambda _: Fault(corrupt=True)}
_LARGE: _Kinds = {
    "request cut off": lambda rng: Fault(
        cut_after=rng.randrange(6 * MIB), reset=rng.choice([False, True])
    ),
    "503 after a part": lambda rng: Fault(persist_then_status=rng.randrange(6 * KIB), status=503),
}


def possible_faults(operation: str) -> _Kinds:
    """Return the kinds of faults that can happen to an operation."""
    return {
        **_ANY,
        **(_BODY if operation in WITH_BODY else {}),
        **(_DATA if operation in DATA else {}),
        **(_LARGE if operation == "upload.put" else {}),
    }


class FaultInjector(FaultQueue):
    """A fault queue that draws faults at random until `clear`. It logs each fault as JSON.

    A line of the log has `at` (epoch seconds), `kind`, `operation` and `name`.
    """

    def __init__(self, *, rate: float, seed: int, log: TextIO) -> None:
        super().__init__()
        self._rate = rate
        self._rng = Random(seed)  # noqa: S311 - must be repeatable
        self._log = log
        self._drawing = threading.Lock()

    def clear(self) -> None:
        """Drop all queued faults, and draw no more."""
        super().clear()
        with self._drawing:
            self._rate = 0

    def take(self, method: str, operation: str, name: str | None) -> Fault | None:
        """Return the fault for a request, or None."""
        queued = super().take(method, operation, name)
        if queued or operation not in FUNCTION_OPERATIONS:
            return queued
        with self._drawing:
            kind, fault = self._draw(operation)
            if fault:
                line = {"at": time.time(), "kind": kind, "operation": operation, "name": name}
                self._log.write(json.dumps(line) + "\n")
        return fault

    def _draw(self, operation: str) -> tuple[str, Fault | None]:
        rate = self._rate * (UPLOAD_FACTOR if operation.startswith("upload.") else 1)
        if self._rng.random() >= rate:
            return "", None
        kind, fault = self._rng.choice(list(possible_faults(operation).items()))
        return kind, fault(self._rng)
