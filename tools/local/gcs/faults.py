"""Faults that a test queues: each waits for a request that fits and spoils it."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.local.gcs.errors import invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What to match, how often, and what goes wrong; several actions may be combined."""

    method: str | None = None
    operation: str | None = None
    name: str | None = None
    skip: int = 0  # let this many matching requests pass first
    times: int | None = 1  # None: until the faults are cleared

    status: int | None = None  # answer this instead of doing anything
    reason: str | None = None  # the error's reason; by default the usual one of `status`
    message: str | None = None  # the error's message
    headers: Mapping[str, str] = field(default_factory=dict)  # sent with `status`
    persist_then_status: int | None = None  # answer `status` only after this many KiB of body
    cut_after: int | None = None  # close after this many bytes of the request's body
    reset: bool = False  # close with RST, not FIN
    lose_response: bool = False  # do everything, then close without an answer
    cut_response_after: int | None = None  # do everything, then answer only so many bytes
    stall: float = 0.0  # seconds before the body is read
    stall_answer: float = 0.0  # seconds before the answer is sent
    corrupt: bool = False  # flip a bit of the object's bytes as they arrive

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> "Fault":
        """Build a fault from a request to /_local/faults."""
        try:
            return cls(**payload)
        except TypeError as error:
            raise invalid(f"Not a fault: {error}") from error

    def fits(self, method: str, operation: str, name: str | None) -> bool:
        """Say whether this request is one to spoil."""
        return (
            self.method in {None, method}
            and self.operation in {None, operation}
            and self.name in {None, name}
        )


@dataclass(slots=True)
class _Queued:
    fault: Fault
    skip: int
    times: int | None


class FaultQueue:
    """The faults still to come, first queued first fired; one request takes one fault."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queued: list[_Queued] = []

    def add(self, fault: Fault) -> None:
        """Queue a fault."""
        with self._lock:
            self._queued.append(_Queued(fault, fault.skip, fault.times))

    def clear(self) -> None:
        """Forget all faults that have not fired."""
        with self._lock:
            self._queued.clear()

    def take(self, method: str, operation: str, name: str | None) -> Fault | None:
        """Return the fault for this request, None where there is none."""
        with self._lock:
            for queued in self._queued:
                if not queued.fault.fits(method, operation, name):
                    continue
                if queued.skip:
                    queued.skip -= 1
                    continue
                self._count(queued)
                return queued.fault
        return None

    def _count(self, queued: _Queued) -> None:
        if queued.times is None:
            return
        queued.times -= 1
        if queued.times <= 0:
            self._queued.remove(queued)


def corrupted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces with one bit of the first byte flipped."""
    first = True
    for piece in pieces:
        if first and piece:
            first = False
            yield bytes([piece[0] ^ 1]) + piece[1:]
        else:
            yield piece
