"""Delivers S3's events late, twice, out of order and several in one, as S3 may do it."""

from random import Random

from tools.local.lambda_service import LambdaService
from tools.local.notifications import Json, notification
from tools.soak.options import Options
from tools.soak.stats import RunStats

MEAN_DELAY_S = 2.0
LONGEST_DELAY_S = 10.0
"""Of a delayed event. Chosen: many changes of the same key happen in that time."""


class EventShuffler:
    """Stands between a bucket's notifications and the function."""

    def __init__(self, service: LambdaService, stats: RunStats, options: Options) -> None:
        self._service = service
        self._stats = stats
        self._options = options
        self._rng = Random(options.seed)  # noqa: S311 - must be repeatable

    def forward(self, events: list[Json]) -> None:
        """Deliver events that arrive together; each has one record."""
        self._stats.count("events", len(events))
        if len(events) > 1 and self._chance(self._options.batched):
            self._stats.count("deliveries of several records")
            events = [notification(*(record for each in events for record in each["Records"]))]
        for each in events:
            self._deliver(each)

    def _deliver(self, event: Json) -> None:
        copies = 2 if self._chance(self._options.duplicates) else 1
        self._stats.count("duplicates", copies - 1)
        for _ in range(copies):
            delay_s = 0.0
            if self._chance(self._options.delayed):
                delay_s = min(LONGEST_DELAY_S, self._rng.expovariate(1 / MEAN_DELAY_S))
                self._stats.count("delayed")
            self._service.invoke_async(event, delay_s)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share
