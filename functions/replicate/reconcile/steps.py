"""The steps of the state machine that reconciles both sides (statemachines/reconcile.asl.json).

Each state invokes the function with `{"reconcile": step, …}`. All that a run knows is in files of
the reports bucket. So every step can be repeated, and another process can continue it.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from replicate.entry.reading import reading
from replicate.errors import (
    InvalidRequestError,
    PrefixNotFoundError,
    ReplicationError,
    SourceNotAllowedError,
)
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.plan import Overwrite
from replicate.reconcile import counts, output, runs
from replicate.reconcile.ports import Journal, Nominations, ReplicaListing, Reports, SourceListing
from replicate.reconcile.report import Outcome, conclude
from replicate.reconcile.runs import Files, ReconcilePlan, Request
from replicate.reconcile.shards import bisect, shards
from replicate.reconcile.tally import ShardState
from replicate.reconcile.workers import Comparer, Nominator
from replicate.step_errors import PermanentError, TransientError

SMALL_BUCKET = 1000
"""Fewer objects are one shard: one page of a listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """The steps, over both listings, the reports bucket and the event queue."""

    source: SourceListing
    replicas: ReplicaListing
    reports: Reports
    nominations: Nominations
    deadline: Deadline
    naming: Naming
    buckets: frozenset[str]
    """The source buckets."""
    source_prefix: str = ""
    source_suffix: str = ""
    overwrite: Overwrite = Overwrite.CHANGED
    replicates_all_deletes: bool = False

    def plan(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Divide the keys into shards. Raise InvalidRequestError, PrefixNotFoundError."""
        run = runs.run_id(event["started_at"], event["execution"])
        files = Files(self.reports, run)
        if files.read("plan.json") is None:
            files.write("plan.json", self._new_plan(run, event).as_json())
        plan = files.plan()
        return {
            "run": run,
            "compares": not plan.request.from_run,
            "shards": [*range(len(plan.shards))],
        }

    def compare(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Compare the keys of a shard until they or the time end."""
        files, number = Files(self.reports, event["run"]), int(event["shard"])
        comparer = Comparer(
            source=self.source,
            replicas=self.replicas,
            deadline=self.deadline,
            naming=self.naming,
            suffix=self.source_suffix,
            overwrite=self.overwrite,
        )
        state = comparer.compare(files, files.plan(), number)
        return {
            "run": event["run"],
            "shard": number,
            "done": state.done,
            "cursor": state.cursor,
            "counts": state.counts,
        }

    def total(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Add the shards up, and decide whether the differences are nominated."""
        files = Files(self.reports, event["run"])
        plan = files.plan()
        counted = counts.total(state.counts for state in self._states(plan))
        all_deletes = self.replicates_all_deletes
        outcome = conclude(plan, counted, replicates_all_deletes=all_deletes)
        files.write("total.json", asdict(outcome))
        return {
            "run": plan.run,
            "nominates": outcome.ended == "nominated",
            "shards": [*range(len(plan.shards))],
        }

    def nominate(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Nominate the differences of a shard until they or the time end."""
        files, number = Files(self.reports, event["run"]), int(event["shard"])
        nominator = Nominator(
            reports=self.reports,
            nominations=self.nominations,
            deadline=self.deadline,
            deletes=self.replicates_all_deletes,
        )
        state = nominator.nominate(files, files.plan(), number)
        return {"run": event["run"], "shard": number, "done": state["done"]}

    def report(self, event: Mapping[str, Any], journal: Journal) -> dict[str, Any]:
        """Write the report, and record the metrics of a complete run."""
        files = Files(self.reports, event["run"])
        plan = files.plan()
        total = files.read("total.json")
        if total is None:
            raise InvalidRequestError(f"The run {event['run']} has no total. Start a new run.")
        outcome = Outcome(**total)
        for number in range(len(plan.shards)):
            sent = files.read(runs.nomination_file(number)) or {}
            outcome.counts["nominated"] += sent.get("nominated", 0)
        states = self._states(plan)
        output.write(
            self.reports,
            plan,
            states,
            outcome,
            destination=self.naming.uri(""),
            replicates_all_deletes=self.replicates_all_deletes,
        )
        if plan.is_complete:
            journal.reconciled(outcome.counts, output.remember(self.reports, plan, states, outcome))
        return {
            "run": plan.run,
            "mode": str(plan.request.mode),
            "ended": outcome.ended,
            "differences": outcome.differences,
            "counts": outcome.counts,
            "bucket": self.reports.bucket,
            "prefix": files.prefix,
        }

    def _new_plan(self, run: str, event: Mapping[str, Any]) -> ReconcilePlan:
        request = Request.parse(event["input"])
        started_at = datetime.fromisoformat(event["started_at"]).astimezone(UTC)
        if request.from_run:
            found = Files(self.reports, request.from_run).plan()
            bucket, prefix, divided = found.bucket, found.prefix, found.shards
            expected = found.expected_objects
        else:
            bucket = self._bucket(request)
            prefix = self._prefix(request)
            known = runs.read_json(self.reports, runs.boundaries_file(bucket)) or {}
            expected = known.get("objects")
            divided = tuple(self._shards(bucket, prefix, known))
        return ReconcilePlan(
            run=run,
            request=request,
            started_at=started_at.isoformat(),
            bucket=bucket,
            prefix=prefix,
            shards=divided,
            expected_objects=None if request.prefix else expected,
        )

    def _shards(self, bucket: str, prefix: str, known: Mapping[str, Any]) -> list[runs.Shard]:
        """Divide the keys. Look at both sides first: a missing permission ends the run here."""
        pages = self.source.pages(bucket, prefix, "")
        beginning = [*islice(chain.from_iterable(pages), SMALL_BUCKET)]
        pages.close()
        replicas = self.replicas.pages(prefix, "")
        has_replicas = any(page for page in replicas)
        replicas.close()
        if prefix and not beginning and not has_replicas:
            raise PrefixNotFoundError(
                f"No key in s3://{bucket} and no replica in {self.naming.uri('')} begins with"
                f" {prefix!r}. Check the prefix: it is written as the key is, not URL-encoded."
            )
        if known:
            return shards(known["keys"], prefix)
        if len(beginning) < SMALL_BUCKET:
            return shards([])
        return shards(bisect(lambda after: self.source.first(bucket, prefix, after), prefix))

    def _bucket(self, request: Request) -> str:
        """Return the source bucket. Raise InvalidRequestError, SourceNotAllowedError."""
        if not request.bucket and len(self.buckets) == 1:
            (bucket,) = self.buckets
            return bucket
        if not request.bucket:
            raise InvalidRequestError(
                "SOURCE_BUCKETS has several buckets, or none. Name one of them as bucket."
            )
        if request.bucket not in self.buckets:
            raise SourceNotAllowedError(
                f"The bucket {request.bucket} is not SourceBucketName (SOURCE_BUCKETS). Check its"
                " name."
            )
        return request.bucket

    def _prefix(self, request: Request) -> str:
        """Return the prefix of the keys to list. Raise PrefixNotFoundError."""
        asked, replicated = request.prefix, self.source_prefix
        if asked.startswith(replicated):
            return asked
        if replicated.startswith(asked):
            return replicated
        raise PrefixNotFoundError(
            f"Keys that begin with {asked!r} are not replicated, only those that begin with"
            f" {replicated!r}. Choose a prefix that begins so."
        )

    def _states(self, plan: ReconcilePlan) -> list[ShardState]:
        """Read the states of all shards. Raise InvalidRequestError unless all are done."""
        files, states = Files(self.reports, plan.compared_by), []
        for number in range(len(plan.shards)):
            found = files.read(runs.shard_file(number))
            if found is None or not found["done"]:
                raise InvalidRequestError(
                    f"The run {plan.compared_by} has not compared all keys: shard {number} is not"
                    " done. Wait for its end, redrive its execution, or start a new run."
                )
            states.append(ShardState(**found))
        return states


def step(
    build: Callable[[], Reconcile], journal: Journal, event: Mapping[str, Any]
) -> dict[str, Any]:
    """Run one step and return its result. Raise TransientError, PermanentError."""
    try:
        name, run = _step(build(), journal, event)
        result = run(event)
    except ReplicationError as error:
        journal.failed_without_object(error)
        kind = TransientError if error.retryable else PermanentError
        raise kind(f"{error.code}: {error.message}") from None
    journal.stepped(name, result)
    return result


def _step(
    reconcile: Reconcile, journal: Journal, event: Mapping[str, Any]
) -> tuple[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Return the step that an event names. Raise InvalidEventError."""
    named: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "plan": reconcile.plan,
        "compare": reconcile.compare,
        "total": reconcile.total,
        "nominate": reconcile.nominate,
        "report": lambda event: reconcile.report(event, journal),
    }
    with reading("a step of the reconcile"):
        return event["reconcile"], named[event["reconcile"]]
