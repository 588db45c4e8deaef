"""Faults that a test queues: each waits for a request that matches, and disturbs it."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tools.local.gcs.errors import ApiError, invalid

_REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What to match, how often, and what goes wrong; several actions can be combined."""

    method: str | None = None
    operation: str | None = None
    name: str | None = None
    skip: int = 0  # let this many matching requests pass first
    times: int | None = 1  # None: until the faults are cleared

    status: int | None = None  # respond with this error, and do nothing
    reason: str | None = None  # the error's reason; by default the usual one of `status`
    message: str | None = None  # the error's message
    headers: Mapping[str, str] = field(default_factory=dict)  # sent with `status`
    persist_then_status: int | None = None  # respond with `status` after so many KiB of body
    cut_after: int | None = None  # close after this many bytes of the request's body
    reset: bool = False  # close with RST, not FIN
    lose_response: bool = False  # do everything, then close without a response
    cut_response_after: int | None = None  # do everything, then send only so many bytes
    stall: float = 0.0  # seconds before the body is read
    stall_response: float = 0.0  # seconds before the response is sent
    corrupt: bool = False  # flip a bit of the object's bytes as they arrive

    # What GCS's documentation leaves open about `deleteSourceObjects` and the class of a composite:
    delete_sources_anyway: bool = False  # also when a precondition of the destination fails
    delete_sources_after: float | None = None  # seconds after the response
    keep_sources: bool = False  # delete them never
    refuse_other_class: bool = False  # 400 when `destination` names another class than the sources'

    # What it leaves open about compressed chunks of a resumable upload:
    trust_gzip: bool = False  # store what decodes, filled up with zeros, and compare no checksum

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> "Fault":
        """Build a fault from a request to /_local/faults."""
        try:
            return cls(**payload)
        except TypeError as error:
            raise invalid(f"Not a fault: {error}") from error

    @property
    def response_bytes(self) -> int | None:
        """How many bytes of the response are sent, None for all."""
        return 0 if self.lose_response else self.cut_response_after

    def matches(self, method: str, operation: str, name: str | None) -> bool:
        """Say whether this request is one to disturb."""
        return (
            self.method in {None, method}
            and self.operation in {None, operation}
            and self.name in {None, name}
        )

    def error(self) -> ApiError:
        """Return the error to respond with."""
        status = self.status or 503
        return ApiError(
            status,
            self.reason or _REASONS.get(status, "backendError"),
            self.message or f"Injected fault: {status}",
            self.headers,
        )


class FaultQueue:
    """The faults still to come, in their order; a request takes at most one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queued: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Queue a fault."""
        with self._lock:
            self._queued.append(fault)

    def clear(self) -> None:
        """Remove all faults that have not fired."""
        with self._lock:
            self._queued.clear()

    def take(self, method: str, operation: str, name: str | None) -> Fault | None:
        """Return the fault for this request, None where there is none."""
        with self._lock:
            for index, fault in enumerate(self._queued):
                if not fault.matches(method, operation, name):
                    continue
                if fault.skip:
                    self._queued[index] = replace(fault, skip=fault.skip - 1)
                    continue
                if fault.times is not None:
                    later = replace(fault, times=fault.times - 1)
                    self._queued[index : index + 1] = [later] if fault.times > 1 else []
                return fault
        return None


def corrupted(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks with one bit of the first byte flipped."""
    for chunk in chunks:
        if chunk:
            yield bytes([chunk[0] ^ 1]) + chunk[1:]
            break
    yield from chunks
