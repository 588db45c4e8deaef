"""A reconcile in memory: its ports (replicate/reconcile/ports.py), and its state machine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fakes import FakeGcs, FakeS3

from replicate.errors import ReplicationError
from replicate.protocol.model import SourceRef
from replicate.reconcile.ports import Pages
from replicate.reconcile.rows import ReplicaRow, SourceRow
from replicate.reconcile.steps import Reconcile, step

PAGE = 3


@dataclass
class FakeSourceListing:
    """The listing of a FakeS3. Each page shows the bucket as it is when the page is read."""

    s3: FakeS3
    page: int = PAGE
    error: ReplicationError | None = None
    read: list[str] = field(default_factory=list)
    """Every key that was listed."""

    def pages(
        self, bucket: str, prefix: str, after: str, to: str | None = None
    ) -> Pages[SourceRow]:
        while keys := self._keys(bucket, prefix, after)[: self.page]:
            self.read += keys
            rows = [self._row(SourceRef(bucket, key)) for key in keys]
            after = keys[-1]
            yield rows
            if to is not None and after >= to:
                return

    def first(self, bucket: str, prefix: str, after: str) -> str | None:
        return next(iter(self._keys(bucket, prefix, after)), None)

    def _keys(self, bucket: str, prefix: str, after: str) -> list[str]:
        if self.error:
            raise self.error
        return [key for key in self.s3.keys(bucket) if key.startswith(prefix) and key > after]

    def _row(self, ref: SourceRef) -> SourceRow:
        pinned = self.s3.pin(ref)
        assert pinned
        found = pinned.object
        modified = f"{found.last_modified:%Y-%m-%dT%H:%M:%SZ}"
        return SourceRow(ref.key, found.etag, found.size, modified, found.storage_class)


@dataclass
class FakeReplicaListing:
    """The listing of a FakeGcs, whose objects were all updated long ago, except the `young`."""

    gcs: FakeGcs
    key_prefix: str = ""
    page: int = PAGE
    error: ReplicationError | None = None
    young: dict[str, str] = field(default_factory=dict)
    """Time of the last update by name."""

    def pages(self, prefix: str, after: str, to: str | None = None) -> Pages[ReplicaRow]:
        while rows := self._rows(prefix, after)[: self.page]:
            after = rows[-1].key
            yield rows
            if to is not None and after >= to:
                return

    def _rows(self, prefix: str, after: str) -> list[ReplicaRow]:
        if self.error:
            raise self.error
        found = []
        for name, stored in sorted(self.gcs.objects.items()):
            key = name[len(self.key_prefix) :]
            is_inside = name.startswith(self.key_prefix + prefix) and key > after
            if is_inside:
                replica = stored.replica
                updated = self.young.get(name, "2026-01-01T00:00:00.000Z")
                metadata = replica.attributes.metadata
                found.append(
                    ReplicaRow(
                        key, replica.size, str(replica.generation), updated, metadata, replica.md5
                    )
                )
        return found


@dataclass
class FakeReports:
    """A bucket of files."""

    bucket: str = "reports"
    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    """The media type of each file."""

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def write(self, name: str, data: bytes, content_type: str) -> None:
        self.files[name] = data
        self.types[name] = content_type

    def write_stream(self, name: str, chunks: Iterable[bytes], content_type: str) -> None:
        self.write(name, b"".join(chunks), content_type)


@dataclass
class FakeNominations:
    """The keys that were nominated, in order."""

    refs: list[SourceRef] = field(default_factory=list)

    def send(self, refs: Sequence[SourceRef]) -> None:
        self.refs += refs


@dataclass
class FakeJournal:
    """What was recorded."""

    steps: list[str] = field(default_factory=list)
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The last one of each step."""
    errors: list[ReplicationError] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def failed_without_object(self, error: ReplicationError) -> None:
        self.errors.append(error)

    def stepped(self, step: str, result: Mapping[str, Any]) -> None:
        self.steps.append(step)
        self.results[step] = result

    def reconciled(self, counts: Mapping[str, int], repeated: int | None) -> None:
        self.metrics.append({**counts, "repeated": repeated})


class KilledError(BaseException):
    """The process of a step was killed. Nothing handles that."""


STARTED_AT = "2026-06-01T00:00:00.123Z"
"""Months after everything in the fakes."""


@dataclass
class Machine:
    """statemachines/reconcile.asl.json, one state after the other. Killed steps are repeated."""

    reconcile: Reconcile
    journal: FakeJournal = field(default_factory=FakeJournal)
    pause: Callable[[], None] = lambda: None
    """Called between two steps."""

    def run(self, execution: str = "execution-1", **request: Any) -> dict[str, Any]:  # noqa: ANN401
        """Run an execution to its end. Raise PermanentError, TransientError."""
        event = {"input": request, "execution": execution, "started_at": STARTED_AT}
        state = self._step("plan", event)
        if state["compares"]:
            for shard in state["shards"]:
                self._loop("compare", state["run"], shard)
        state = self._step("total", state)
        if state["nominates"]:
            for shard in state["shards"]:
                self._loop("nominate", state["run"], shard)
        return self._step("report", state)

    def _loop(self, name: str, run: str, shard: int) -> None:
        while not self._step(name, {"run": run, "shard": shard})["done"]:
            pass

    def _step(self, name: str, event: Mapping[str, Any]) -> dict[str, Any]:
        while True:
            try:
                self.pause()
                return step(lambda: self.reconcile, self.journal, {"reconcile": name, **event})
            except KilledError:
                continue
