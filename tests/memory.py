"""The whole function over two stores in memory. Only the adapters behind the ports are replaced."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from executions import FakeExecutions
from fakes import FakeGcs, FakeS3, compressed_size

from replicate.entry.invocation import Change
from replicate.entry.invocation import Context as LambdaContext
from replicate.handler import Function
from replicate.parallel import Threads
from replicate.protocol.assembly import Assembler
from replicate.protocol.deadline import MARGIN_S, Deadline
from replicate.protocol.large import LargeCopy
from replicate.protocol.model import PartLayout, SourceObject, SourceRef, Span
from replicate.protocol.ports import Body, Source
from replicate.protocol.replicator import Replicator
from replicate.protocol.scope import Scope
from replicate.retry import DEFAULT_POLICY
from replicate.round_clock import RoundClock
from replicate.settings import Settings
from replicate.settlement.settle import Queues
from replicate.workflow import LargeObjects

EVENTS = Path(__file__).parents[1] / "events"


def sample_event(name: str) -> dict[str, Any]:
    """Return the event in events/`name`.json."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


class Everything(Scope):
    """A scope that no deployment has: all objects."""

    def __init__(self) -> None:
        super().__init__(frozenset())

    def require(self, ref: SourceRef) -> None:
        """Refuse nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """The context object that Lambda passes with an invocation."""

    remaining_ms: int = 60_000
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass
class MemoryStores:
    """Settings and both stores. `wrap` replaces the source by one that wraps it."""

    s3: FakeS3 = field(default_factory=FakeS3)
    gcs: FakeGcs = field(default_factory=FakeGcs)
    environ: dict[str, str] = field(default_factory=dict)
    wrap: Callable[[Source], Source] = lambda source: source

    executions: FakeExecutions | None = None
    queues: Queues | None = None
    deadline: Deadline = field(default_factory=lambda: Deadline(0))

    scope: Scope | None = None
    """Replaces that of the settings."""

    changes: list[Change] = field(default_factory=list)
    """What the function asked a replicator for."""

    service: str = field(default_factory=lambda: f"test-{uuid.uuid4()}")
    """Unique, because loggers are kept per service and write to the standard output of one test."""

    @property
    def settings(self) -> Settings:
        required = {
            "GCS_BUCKET_NAME": "replica",
            "GCP_CREDENTIALS_SECRET": "gcp",
            "AWS_REGION": "eu-west-1",
            "SOURCE_BUCKETS": "source,my-source-bucket",
            "POWERTOOLS_SERVICE_NAME": self.service,
        }
        settings = Settings.from_environ(required | self.environ)
        return replace(settings, scope=self.scope) if self.scope else settings

    def start_invocation(self, context: LambdaContext) -> None:
        self.deadline.restart(context.get_remaining_time_in_millis() / 1000 - MARGIN_S)

    @property
    def assembler(self) -> Assembler:
        return Assembler(
            source=self.wrap(self.s3),
            destination=self.gcs,
            prefix=self.settings.naming.staging,
            sizes=self.settings.sizes,
            in_parallel=Threads(1),
            compressed_size=compressed_size if self.settings.compress_egress else None,
        )

    def large_objects(self) -> LargeObjects:
        return LargeObjects(LargeCopy(self.replicator()), self.settings.scope)

    def reconcile(self) -> NoReturn:
        raise NotImplementedError("Build it of its own parts.")

    def replicator(self, change: Change | None = None) -> Replicator:
        settings = self.settings
        self.changes += [change] if change else []
        return Replicator(
            source=self.wrap(self.s3),
            destination=self.gcs,
            naming=settings.naming,
            clock=RoundClock(DEFAULT_POLICY, self.deadline),
            policy=settings.policy,
            storage_classes=settings.storage_classes,
            assembler=self.assembler,
            executions=self.executions,
        )

    def function(self) -> Function:
        return Function(self)


class FailingSource:
    """A source that raises the error in `failures` for a key."""

    def __init__(self, source: Source, failures: dict[str, Exception]) -> None:
        self._source = source
        self._failures = failures

    def head(self, ref: SourceRef) -> SourceObject | None:
        self._fail(ref)
        return self._source.head(ref)

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator[Body | None]:
        self._fail(ref)
        with self._source.open(ref, version, span) as body:
            yield body

    def part_layout(self, version: SourceObject) -> PartLayout | None:
        return self._source.part_layout(version)

    def has_layout(self, version: SourceObject, layout: PartLayout) -> bool:
        return self._source.has_layout(version, layout)

    def _fail(self, ref: SourceRef) -> None:
        if ref.key in self._failures:
            raise self._failures[ref.key]
