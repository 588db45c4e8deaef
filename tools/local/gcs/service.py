"""Everything one server knows, and the start of each operation: journal entry and fault."""

import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.local.gcs.errors import ApiError
from tools.local.gcs.exchange import Request
from tools.local.gcs.faults import Fault, FaultQueue
from tools.local.gcs.keyring import Keyring
from tools.local.gcs.sessions import Sessions
from tools.local.gcs.store import Store

_REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
}
_JOURNAL_ENTRIES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request in the journal."""

    method: str
    operation: str
    path: str
    bucket: str | None
    name: str | None
    status: int | None  # None: no answer was given
    body_bytes: int


class Journal:
    """What was asked, in the order in which it was answered."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_JOURNAL_ENTRIES)

    def note(self, request: Request, status: int | None) -> None:
        """Write down a request, before its answer leaves."""
        self._entries.append(
            Entry(
                method=request.method,
                operation=request.operation,
                path=request.path,
                bucket=request.bucket,
                name=request.name,
                status=status,
                body_bytes=request.body.received,
            )
        )

    def entries(self) -> list[dict[str, Any]]:
        """Return all entries as JSON values."""
        return [asdict(entry) for entry in self._entries.copy()]

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts that the operations work with."""

    store: Store
    keyring: Keyring
    auth: bool = True
    lacking: set[str] = field(default_factory=set)  # permissions that nobody has
    sessions: Sessions = field(default_factory=Sessions)
    faults: FaultQueue = field(default_factory=FaultQueue)
    journal: Journal = field(default_factory=Journal)
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin(
        self,
        request: Request,
        operation: str,
        *,
        bucket: str | None = None,
        name: str | None = None,
    ) -> None:
        """Say what the request turned out to be; here a queued fault strikes."""
        request.operation, request.bucket, request.name = operation, bucket, name
        request.fault = self.faults.take(request.method, operation, name)
        if request.fault:
            self._strike(request, request.fault)

    def _strike(self, request: Request, fault: Fault) -> None:
        if fault.stall:
            self.stopping.wait(fault.stall)
        if fault.cut_after is not None:
            request.body.stop_after(fault.cut_after)
        if fault.persist_then_status is not None:
            request.body.stop_after(fault.persist_then_status * 1024, _refusal(fault))
        elif fault.status is not None:
            raise _refusal(fault)


def _refusal(fault: Fault) -> ApiError:
    status = fault.status or 503
    reason = fault.reason or _REASONS.get(status, "backendError")
    message = fault.message or f"Injected fault: {status}"
    return ApiError(status, reason, message, fault.headers)
