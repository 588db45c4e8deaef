"""The state of one server, and the start of each operation: request log and fault."""

import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.local.gcs.faults import FaultQueue
from tools.local.gcs.keyring import Keyring
from tools.local.gcs.messages import Request
from tools.local.gcs.sessions import Sessions
from tools.local.gcs.store import Store

_LOG_ENTRIES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request in the log."""

    method: str
    operation: str
    path: str
    bucket: str | None
    name: str | None
    status: int | None  # None: no response was sent
    body_bytes: int


class RequestLog:
    """The requests, in the order of the responses."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_LOG_ENTRIES)

    def record(self, request: Request, status: int | None) -> None:
        """Add a request, before its response is sent."""
        entry = Entry(
            method=request.method,
            operation=request.operation,
            path=request.path,
            bucket=request.bucket,
            name=request.name,
            status=status,
            body_bytes=request.body.received,
        )
        self._entries.append(entry)

    def entries(self) -> list[dict[str, Any]]:
        """Return all entries as JSON values."""
        return [asdict(entry) for entry in self._entries.copy()]

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the operations work with."""

    store: Store
    keyring: Keyring
    auth: bool = True
    denied_permissions: set[str] = field(default_factory=set)
    sessions: Sessions = field(default_factory=Sessions)
    faults: FaultQueue = field(default_factory=FaultQueue)
    log: RequestLog = field(default_factory=RequestLog)
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin(
        self,
        request: Request,
        operation: str,
        *,
        bucket: str | None = None,
        name: str | None = None,
    ) -> None:
        """Set what the request turned out to be, and apply a queued fault that matches it."""
        request.operation, request.bucket, request.name = operation, bucket, name
        fault = request.fault = self.faults.take(request.method, operation, name)
        if fault is None:
            return
        if fault.stall:
            self.stopping.wait(fault.stall)
        if fault.cut_after is not None:
            request.body.stop_after(fault.cut_after)
        if fault.persist_then_status is not None:
            request.body.stop_after(fault.persist_then_status * 1024, fault.error())
        elif fault.status is not None:
            raise fault.error()
