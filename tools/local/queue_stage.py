"""The demo's stage with a queue on it: beside direct delivery, a stack of the template's own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tools.local.deploy import Deployed
from tools.local.notifications import Json
from tools.local.stage import Stage, expect

FOR_GOOD = 10_000


@dataclass(slots=True, kw_only=True)
class QueueStage(Stage):
    """A stage, and a deployed template that receives through its queue."""

    stack: Deployed

    def __post_init__(self) -> None:
        self.buckets = (*self.buckets, self.stack.bucket)

    def put(self, key: str, data: bytes) -> None:
        """Put an object into the stack's bucket; its event waits in the queue."""
        self.cloud.aws.s3.put_object(Bucket=self.stack.bucket, Key=key, Body=data)

    @contextmanager
    def spoiled(self, **fault: object) -> Iterator[None]:
        """Let a fault of GCS strike again and again: until the end, however that comes."""
        self.cloud.google.add_fault(**fault, times=FOR_GOOD)
        try:
            yield
        finally:
            self.cloud.google.clear_faults()

    def elapsed_ms(self) -> dict[str, float]:
        """As a stage's; what came through the queue is told by the function's log alone."""
        logged = {
            line["source"]["key"]: line["elapsed_ms"]
            for line in self._log()
            if line.get("status") == "replicated"
        }
        return {**Stage.elapsed_ms(self), **logged}

    def expect_queues(self, *, waiting: int, failed: int) -> None:
        """Raises SurpriseError unless so many events are in the two queues."""
        wiring = self.stack.wiring
        expect(wiring.waiting(), waiting, "events in the event queue")
        expect(wiring.failed(), failed, "events in the failure queue")

    def expect_differing(self, prefix: str, *names: str) -> None:
        """Raises SurpriseError unless these and no others differ on both sides."""
        differing = [pair.name for pair in self.pairs(prefix) if not pair.equal]
        expect(differing, list(names), "what differs")

    def _log(self) -> list[Json]:
        lines = self.stack.function.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
