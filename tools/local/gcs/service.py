"""The state of one server, and the start of each operation."""

import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tools.local.gcs.faults import FaultQueue
from tools.local.gcs.keyring import Keyring
from tools.local.gcs.messages import Request
from tools.local.gcs.sessions import Session
from tools.local.gcs.store import Store

_LOG_ENTRIES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the operations work with."""

    store: Store
    keyring: Keyring
    denied_permissions: set[str] = field(default_factory=set)
    sessions: dict[str, Session] = field(default_factory=dict)
    """By id. Ended ones stay: their responses must not change."""
    faults: FaultQueue = field(default_factory=FaultQueue)
    log: deque[dict[str, Any]] = field(default_factory=partial(deque, maxlen=_LOG_ENTRIES))
    """The requests, in the order of the responses."""
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

    def record(self, request: Request, status: int | None) -> None:
        """Log a request, before its response is sent; a status of None is no response."""
        self.log.append(
            {
                "method": request.method,
                "operation": request.operation,
                "path": request.path,
                "bucket": request.bucket,
                "name": request.name,
                "status": status,
                "body_bytes": request.body.received,
            }
        )

    def open_sessions(self) -> list[dict[str, str | int]]:
        """Return the resumable uploads that have not ended, as JSON values."""
        return [
            {
                "id": session.id,
                "bucket": session.spec.bucket,
                "name": session.spec.name,
                "persisted": session.persisted,
            }
            for session in list(self.sessions.values())
            if session.is_open
        ]
