"""Bad weather for the local GCS server: faults at a rate, and outages now and then."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tools.local.gcs.faults import Fault, FaultQueue

STORM_S = 40.0
STORM_RATE = 0.9
"""Share of the requests refused in an outage."""

BODIES = frozenset({"objects.insert", "upload.put", "upload.final", "objects.patch"})
BYTES = frozenset({"objects.insert", "upload.put", "upload.final"})
STRUCK = BODIES | {
    "objects.get",
    "objects.delete",
    "upload.start",
    "upload.status",
    "upload.cancel",
    "token",
}
"""The operations of the function; those of the audits are left alone."""

UPLOADS = 4
"""So many times the rate for the requests of resumable uploads: there are few of them."""

KIB = 1024
MIB = 1024 * KIB

_EVERYWHERE: dict[str, Callable[[Random], Fault]] = {
    "503": lambda _: Fault(status=503),
    "429": lambda _: Fault(status=429),
    "answer lost": lambda _: Fault(lose_response=True),
    "answer cut off": lambda rng: Fault(cut_response_after=rng.randrange(1, 200)),
    "stalled": lambda rng: Fault(stall=rng.uniform(0.1, 0.8)),
}
_IN_BODIES: dict[str, Callable[[Random], Fault]] = {
    "cut while receiving": lambda rng: Fault(cut_after=rng.randrange(2), reset=rng.random() < 0.5),  # noqa: PLR2004 - FIN or RST
}
_IN_BYTES: dict[str, Callable[[Random], Fault]] = {
    "corrupted": lambda _: Fault(corrupt=True),
}
_IN_LARGE: dict[str, Callable[[Random], Fault]] = {
    "cut while receiving": lambda rng: Fault(
        cut_after=rng.randrange(6 * MIB),
        reset=rng.random() < 0.5,  # noqa: PLR2004 - same
    ),
    "503 midway": lambda rng: Fault(persist_then_status=rng.randrange(6 * KIB), status=503),
}


def possible(operation: str) -> dict[str, Callable[[Random], Fault]]:
    """The faults that make sense for an operation."""
    found = dict(_EVERYWHERE)
    if operation in BODIES:
        found |= _IN_BODIES
    if operation in BYTES:
        found |= _IN_BYTES
    if operation == "upload.put":
        found |= _IN_LARGE
    return found


class Weather(FaultQueue):
    """A fault queue that is never empty until `clear`. Writes down each fault as it strikes."""

    def __init__(self, *, rate: float, storm_every_s: float, seed: int, log: Path) -> None:
        super().__init__()
        self._rate = rate
        self._storm_every_s = storm_every_s
        self._rng = Random(seed)  # noqa: S311 - to be repeatable
        self._dice = threading.Lock()
        self._log = log
        self._log.touch()
        self._since = time.monotonic()

    def clear(self) -> None:
        """Forget all faults, those to come as well."""
        super().clear()
        with self._dice:
            self._rate = 0

    def take(self, method: str, operation: str, name: str | None) -> Fault | None:
        """Return the fault for this request, None where it is spared."""
        queued = super().take(method, operation, name)
        if queued or operation not in STRUCK:
            return queued
        with self._dice:
            kind, fault = self._thrown(operation)
            if fault:
                line = {"at": time.time(), "kind": kind, "operation": operation, "name": name}
                with self._log.open("a") as log:
                    log.write(json.dumps(line) + "\n")
        return fault

    def _thrown(self, operation: str) -> tuple[str, Fault | None]:
        if self._rate and self._in_storm() and self._rng.random() < STORM_RATE:
            return "503 in an outage", Fault(status=503)
        rate = self._rate * (UPLOADS if operation.startswith("upload.") else 1)
        if self._rng.random() >= rate:
            return "", None
        faults = possible(operation)
        kind = self._rng.choice(list(faults))
        return kind, faults[kind](self._rng)

    def _in_storm(self) -> bool:
        if not self._storm_every_s:
            return False
        into = (time.monotonic() - self._since) % self._storm_every_s
        return into > self._storm_every_s - STORM_S
