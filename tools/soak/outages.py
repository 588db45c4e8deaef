"""An outage of each service, one after the other, while objects change."""

import threading

from tools.local.outages import Gates, Service
from tools.soak.stats import Outage, RunStats

POLL_S = 0.2


def have_outages(
    gates: Gates, stats: RunStats, *, changes: int, outage_s: float, stopping: threading.Event
) -> None:
    """Begin an outage after a quarter, the half and three quarters of the planned changes."""
    for number, service in enumerate(Service if outage_s else (), 1):
        while stats.changes.total() * (len(Service) + 1) < number * changes:
            if stopping.wait(POLL_S):
                return
        start, refused = stats.now(), gates.refused()
        with gates.outage(service):
            stopping.wait(outage_s)
        stats.outages.append(Outage(service, start, stats.now(), gates.refused() - refused))
