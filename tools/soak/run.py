"""One run of the soak from beginning to end."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from tools.common.reconciling import Report
from tools.local.bucket_notifications import BucketNotifications
from tools.local.deployment import send_failure
from tools.local.lambda_service import LambdaService
from tools.local.notifications import Json, object_key
from tools.local.runtime import EXITED, FunctionError
from tools.soak.changes import ChangePlan
from tools.soak.cloud import RETRY_DELAYS_S, SOURCE, SoakCloud, soak_cloud
from tools.soak.comparison import Findings, compare
from tools.soak.event_shuffler import EventShuffler
from tools.soak.execution_stopper import ExecutionStopper
from tools.soak.monitor import check_replica, monitor_replica
from tools.soak.options import Options
from tools.soak.outages import have_outages
from tools.soak.process_killer import ProcessKiller
from tools.soak.stats import RunStats
from tools.soak.writer import write_changes

LANES = 2
"""Threads that change objects. Each has keys of its own."""

POLL_S = 0.2
PROGRESS_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakResult:
    """Everything that the report needs."""

    options: Options
    when: datetime
    stats: RunStats
    findings: Findings
    page: bytes
    """The report of the reconcile."""
    faults: Sequence[Json]
    requests: Mapping[str, int]
    executions: Mapping[str, int]
    """By how they ended."""
    large: int
    """Changes after which an object was large."""


def soak(options: Options, console: Console) -> SoakResult:
    """Make the changes, wait until all is delivered without faults, and compare both sides."""
    when = datetime.now(UTC)
    plan = ChangePlan(options, LANES)
    stats = RunStats()
    with soak_cloud(options) as cloud:
        undelivered, reconciled = _Run(cloud, plan, stats, options, console).play()
        faults, requests, executions = cloud.faults(), cloud.requests(), cloud.executions()
        console.print("Comparing both sides, byte by byte")
        keys = plan.remaining_keys()
        findings = compare(cloud, stats, keys, faults, undelivered, reconciled)
    stats.mark("end")
    return SoakResult(
        options=options,
        when=when,
        stats=stats,
        findings=findings,
        page=reconciled.html,
        faults=faults,
        requests=requests,
        executions=executions,
        large=plan.large(),
    )


class _Run:
    """The phases of a run, and the threads that work in them."""

    def __init__(
        self,
        cloud: SoakCloud,
        plan: ChangePlan,
        stats: RunStats,
        options: Options,
        console: Console,
    ) -> None:
        self._cloud = cloud
        self._plan = plan
        self._stats = stats
        self._options = options
        self._console = console
        self._stopping = threading.Event()
        self._service = LambdaService(
            cloud.runtimes,
            retry_delays_s=RETRY_DELAYS_S,
            on_delivery=stats.record_delivery,
            on_failure=lambda delivery: send_failure(cloud.aws, cloud.event_queue, delivery),
        )
        shuffler = EventShuffler(self._service, stats, options)
        self._notifications = BucketNotifications(cloud.aws, cloud.queue_url, shuffler.forward)
        self._killer = ProcessKiller(
            cloud.runtimes,
            stats,
            mean_s=options.kill_every_s,
            seed=options.seed,
            stopping=self._stopping,
        )
        self._stopper = ExecutionStopper(
            cloud.aws.step_functions,
            cloud.state_machine,
            stats,
            mean_s=options.stop_every_s,
            seed=options.seed,
            stopping=self._stopping,
        )
        self._mapping = cloud.mapping(self._service)
        self._threads = ThreadPoolExecutor(LANES + 5)
        self._outages = self._threads.submit(
            have_outages,
            cloud.gates,
            stats,
            changes=len(plan.changes),
            outage_s=options.outage_s,
            stopping=self._stopping,
        )
        self._background = [
            self._outages,
            self._threads.submit(self._poll_event_queue),
            self._threads.submit(self._killer.run),
            self._threads.submit(self._stopper.run),
            self._threads.submit(monitor_replica, cloud.google.bucket, stats, self._stopping),
        ]
        self._progress_at = 0.0

    def play(self) -> tuple[list[str], Report]:
        """Run all phases. Return the keys of the events that still fail, and a reconcile."""
        with self._cloud.lambda_api.serving(SOURCE, self._invoke_step):
            return self._play()

    def _play(self) -> tuple[list[str], Report]:
        try:
            self._write()
            self._settle("delivering the last events")
            self._cloud.google.clear_faults()
            self._killer.stop()
            self._stopper.stop()
            self._settle("waiting for the last retries")
            self._stats.mark("settled")
            check_replica(self._cloud.google.bucket, self._stats)
            failed = [object_key(letter) for letter in self._cloud.letters()]
            self._stats.count(
                "dead letters", self._cloud.aws.queue_length(self._cloud.failed_queue)
            )
            self._stats.count("processes killed", len(self._stats.kills))
            self._stats.count("of these during an invocation", self._stats.failures[EXITED])
            return failed, self._cloud.reconcile()
        finally:
            self._stopping.set()
            self._threads.shutdown()
            self._notifications.close()
            self._service.close()

    def _invoke_step(self, event: object) -> Json:
        """Invoke the function for an execution."""
        self._stats.count("steps of executions")
        try:
            response: Json = self._service.invoke(event)
        except FunctionError as error:
            self._stats.count("steps killed", error.error_type == EXITED)
            raise
        self._stats.record_step(response)
        return response

    def _poll_event_queue(self) -> None:
        """Invoke the function with failed events, and messages that wait for executions."""
        while not self._stopping.wait(POLL_S):
            while batch := self._mapping.poll():
                self._stats.record_batch(batch)

    def _write(self) -> None:
        """Make all changes, while their events are delivered."""
        writing = [
            self._threads.submit(
                write_changes,
                self._cloud.aws.s3,
                [change for change in self._plan.changes if change.lane == lane],
                self._stats,
                should_pause=self._is_window_full,
                stopping=self._stopping,
            )
            for lane in range(LANES)
        ]
        while not all(each.done() for each in writing):
            self._poll("changing and delivering", *writing)
        self._stats.mark("written")

    def _is_window_full(self) -> bool:
        """Count the events that are on their way from S3, and those that wait for a runtime."""
        on_the_way = self._stats.changes.total() - self._stats.counts["events"]
        return on_the_way + self._service.backlog() >= self._options.window

    def _settle(self, phase: str) -> None:
        """Wait until every event was delivered or is in the failure list."""
        while not self._poll(phase):
            pass

    def _poll(self, phase: str, *futures: Future[None]) -> bool:
        """Wait for a moment; return whether every event has ended. Raises what broke a thread."""
        ended, _ = wait([*self._background, *futures], POLL_S, FIRST_EXCEPTION)
        for each in ended:
            each.result()
        if time.monotonic() > self._progress_at + PROGRESS_EVERY_S:
            self._progress_at = time.monotonic()
            stats = self._stats
            self._console.print(
                f"[dim]{stats.now():5.0f} s[/]  {phase}: {stats.changes.total()} of"
                f" {len(self._plan.changes)} changes, {stats.counts['invocations']} invocations,"
                f" {stats.counts['retries']} retries, {len(stats.kills)} kills"
            )
        # In the order in which events travel.
        idle = [self._outages.done(), self._notifications.is_idle(), self._service.is_idle()]
        return all(idle) and not self._cloud.aws.queue_length(self._cloud.event_queue)
